"""Topics of the corpus: machines, transport, science and trade. See `columns.py` for every field."""

# One column a line reads best as a table, however long the line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from harness.data.mini import values as v
from harness.data.mini import words as w
from harness.data.mini.columns import key, number, part, topic
from harness.data.mini.rng import Rng


def model(rng: Rng) -> str:
    """A model designation."""
    return f"{rng.choice(w.MAKERS)} {rng.choice(('', 'T', 'X', 'Mk ', 'C-', 'S'))}{rng.between(2, 990)}"


TOPICS = (
    topic(
        "aircraft", "aircraft|plane", "aircraft|planes",
        key("Aircraft|Type|Model|Designation", v.text(model), "aircraft|type", "Which aircraft is {e}?|What plane is {e}?", "called {v}|of type {v}"),
        part("Origin|Country of origin|Manufacturer", v.pick(w.COUNTRIES, 5), "origin|country", "Where does {e} come from?|Where was {e} made?", "from {v}|made in {v}"),
        part("Role|Purpose|Mission", v.pick("Trainer|Fighter|Transport|Maritime patrol|Bomber|Air ambulance|Search & rescue", 5), "role|purpose", "What is {e} used for?|What is the role of {e}?", "used as {v}|in the {v} role"),
        part("Engine|Engine type|Powerplant", v.pick("Merlin V-12|Orion turbofan|Two Galvani radials|Turboprop (2)|Vulcan IV", 4), "engine", "What engine does {e} have?|What powers {e}?", "powered by {v}|with the {v} engine"),
        number("In service|Number in service|Quantity|No. built", v.skewed(240), "number in service|number built", "How many of {e} are in service?|How many of {e} were built?", "with {v} in service|of which {v} were built", "count", 0.9),
        number("First flight|Introduced|Year", v.years(1912, 1990, 6), "first flight|year", "When did {e} first fly?|What year was {e} introduced?", "first flown in {v}|from {v}", "year"),
        part("Maximum speed|Top speed (km/h)|Speed", v.grouped(160, 1900, "", " km/h"), "top speed", "How fast is {e}?|What speed does {e} reach?", "with a speed of {v}|that can do {v}"),
        part("Notes|Versions|Variant", v.pick("Retired|A, B|On order|Licence-built|Stored|2 lost", 4), "notes", "What is noted about {e}?", "noted as {v}", 0.5),
    ),
    topic(
        "ships", "ship|vessel", "ships|vessels",
        key("Ship|Name|Ship name|Vessel", v.text(lambda r: r.choice(w.SHIPS)), "ship|name", "Which ship is {e}?|What is the name of {e}?", "called {v}|named {v}"),
        part("Pennant number|Hull no.|Pennant|Number", v.pattern("@1#", 0.0), "pennant number|hull number", "What number does {e} carry?", "with number {v}|numbered {v}"),
        part("Builder|Yard|Shipyard", v.pick("Marlow & Sons|Tyneside Yard No. 3|Odense Værft|Clydeport|Bath Dock Co.", 4), "builder|yard", "Who built {e}?|Where was {e} built?", "built by {v}|from {v}"),
        part("Launched|Laid down|Date launched", v.dates("dmy"), "launch date", "When was {e} launched?|When did {e} go into the water?", "launched on {v}|launched {v}"),
        part("Commissioned|Entered service|Completed", v.dates("dmy"), "date of commission", "When was {e} commissioned?|When did {e} enter service?", "commissioned {v}|that entered service on {v}", 0.6),
        part("Fate|Status|Disposition", v.pick("Scrapped|Sunk in collision|Sold to Norway|Museum ship|Lost in gale|In reserve|Broken up", 5), "fate|status", "What happened to {e}?|What was the fate of {e}?", "that was {v}|whose fate was {v}"),
        number("Tonnage|Tons|Displacement (t)|GRT", v.whole(90, 46000), "tonnage|displacement", "How heavy is {e}?|What is the tonnage of {e}?", "of {v} tons", "size"),
        part("Home port|Port|Flag", v.pick(w.CITIES, 4), "home port", "Where is {e} based?|What is the home port of {e}?", "based at {v}|from {v}", 0.6),
        number("Crew|Complement", v.whole(12, 900), "crew", "How many crew does {e} have?", "with a crew of {v}", "size", 0.4),
    ),
    topic(
        "locomotives", "locomotive|class", "locomotives|classes",
        part("Class|Type|Series", v.pattern("@#-1", 0.05), "class|type", "What class is {e}?|What type is {e}?", "of class {v}|in class {v}", 0.95),
        part("Wheel arrangement|Wheels|W.A.", v.pick("0-6-0|2-6-2T|4-6-0|4-4-0|2-8-0|Bo-Bo|Co′Co′", 5), "wheel arrangement", "What wheels does {e} have?|How are the wheels of {e} arranged?", "with {v} wheels|arranged {v}"),
        key("Fleet number(s)|Railway number(s)|Numbers|Road numbers", v.text(lambda r: (lambda a: f"{a}–{a + r.between(3, 40)}")(r.between(100, 7000))), "numbers|fleet numbers", "What numbers does {e} carry?|What are the numbers of {e}?", "numbered {v}|with numbers {v}"),
        part("Builder|Manufacturer|Maker", v.pick(w.MAKERS, 4), "builder|maker", "Who built {e}?|Who was the maker of {e}?", "built by {v}|from {v}"),
        number("Quantity|Quantity made|No. built|Number made", v.whole(1, 86), "quantity|number made", "How many of {e} were made?|How many {e} were built?", "of which {v} were made|with {v} built", "count", 0.95),
        part("Date made|Year(s) built|Built|Year made", v.text(lambda r: (lambda y: f"{y}" if r.chance(0.5) else f"{y}–{y + r.between(1, 6)}")(r.between(1868, 1962)), 0.1), "date made|build dates", "When was {e} made?|When was {e} built?", "made in {v}|built in {v}"),
        number("Number preserved|Quantity preserved|Preserved|No. in service", v.skewed(6), "number preserved", "How many of {e} are preserved?|How many of {e} are left?", "with {v} preserved", "count"),
        part("Power output|Power (hp)|Tractive effort", v.grouped(200, 4400, "", " hp"), "power", "How powerful is {e}?|What power has {e}?", "with {v}|that gives {v}", 0.5),
    ),
    topic(
        "processors", "chip|model", "chips|models",
        key("Model number|Model|Part number|Processor", v.text(lambda r: f"{r.choice(w.MAKERS)} {r.choice(('i', 'E', 'Z', 'M'))}{r.between(100, 990)}0"), "model number|model", "Which model is {e}?|What is the model of {e}?", "called {v}|numbered {v}"),
        part("Frequency|Clock speed|Clock", v.text(lambda r: f"{r.between(8, 38) / 10:.1f} GHz", 0.2), "frequency|clock speed", "How fast is {e}?|What is the clock of {e}?", "running at {v}|clocked at {v}"),
        part("L2 cache|L2-Cache|Cache", v.pick("2 × 256 KB|512 KB|1 MB|2 MB|4 × 512 KB", 4), "cache|L2 cache", "How much cache is on {e}?", "with {v} of cache|with a {v} cache"),
        part("Socket|Package|Socket type", v.pick("FCBGA-9|Socket P|LGA 771|rPGA|Slot 2", 4), "socket", "What socket does {e} use?|What does {e} plug into?", "for {v}|that fits {v}"),
        number("Cores|Threads|Max processors", v.whole(1, 16), "number of cores|cores", "How many cores does {e} have?", "with {v} cores"),
        part("TDP|TDP (W)|Power (TDP)", v.text(lambda r: f"{r.between(5, 130)} W", 0.3), "power use|TDP", "How much power does {e} use?|How many watts does {e} need?", "using {v}|rated at {v}"),
        part("Release date|GA date|Introduced", v.dates("mdy"), "release date", "When was {e} released?|When did {e} come out?", "released {v}|released on {v}"),
        part("Release price (USD)|Price (USD)|Price", v.grouped(42, 1300, "$"), "price", "How much was {e}?|What did {e} cost?", "priced at {v}|that cost {v}"),
        part("sSpec number|Stepping|Revision", v.pick("A0|B2|C1|E0|G3", 4), "stepping", "What stepping is {e}?", "with stepping {v}", 0.4),
    ),
    topic(
        "software", "version|release", "versions|releases",
        key("Version|Release|Build", v.text(lambda r: f"{r.between(1, 9)}.{r.between(0, 20)}{r.choice(('', '', '.1', ' RC2', 'b'))}"), "version|release", "Which version is {e}?|What release was {e}?", "called {v}|numbered {v}"),
        part("Code name|Codename|Name", v.text(lambda r: f"{r.choice(w.ADJECTIVES)} {r.choice(w.NOUNS)}"), "code name", "What was the code name of {e}?|What was {e} called?", "named {v}|code-named {v}"),
        part("Release date|Date|Released", v.dates(), "release date", "When was {e} released?|When did {e} come out?", "released on {v}|from {v}"),
        part("License|Licence|Licensing", v.pick("GPL|Apache|Proprietary|MIT|Freeware|Shareware", 4), "license", "How is {e} licensed?|What license does {e} have?", "under {v}|licensed as {v}", 0.7),
        part("Platform|Operating system|Platforms|OS support", v.pick("Linux|Windows|Mac OS X|Cross-platform|Unix, Linux|BeOS", 4), "platform|operating system", "What does {e} run on?|What platform is {e} for?", "for {v}|running on {v}"),
        number("Lines of code|Size (MB)|Download size", v.decimal(0.8, 640), "size", "How large is {e}?", "of size {v}", "size", 0.6),
        part("Support until|End of support|Status", v.pick("Supported|Old version|Discontinued|Beta|2014", 4), "support|status", "How long is {e} supported?|Is {e} supported?", "that is {v}|listed as {v}"),
        number("Bugs fixed|Issues closed|Changes", v.whole(3, 960), "number of fixes|changes", "How many fixes are in {e}?", "with {v} fixes", "count", 0.5),
    ),
    topic(
        "missions", "mission|flight", "missions|flights",
        key("Mission|Spacecraft|Satellite|Name", v.text(lambda r: f"{r.choice(('Zephyr', 'Halley', 'Aurora', 'OPS', 'Vostrok', 'Kibo'))}-{r.between(1, 900)}"), "mission|craft", "Which mission was {e}?|What is {e}?", "called {v}|named {v}"),
        part("Launch date|Launch|Launched|Launch date (UTC)", v.dates("dmy"), "launch date", "When was {e} launched?|When did {e} lift off?", "launched {v}|that lifted off on {v}", 0.9),
        part("Launch vehicle|Rocket|Launcher", v.pick("Atlas-K|Soyara-U|Ariel 4|Long Step 2|Titan Boreal", 4), "launch vehicle|rocket", "What rocket carried {e}?|What was {e} launched on?", "on {v}|carried by {v}"),
        part("Launch site|Site|Launch pad", v.pick("Cape Alder LC-4|Kourra|Plesk 41/1|Woomba|Vandal AFB", 4), "launch site", "Where was {e} launched?|Where did {e} start?", "from {v}|launched from {v}"),
        number("Inclination|Inclination (°)|Incl.", v.decimal(0.1, 98.6), "inclination", "What was the inclination of {e}?", "at an inclination of {v}", "size"),
        number("Perigee (km)|Perigee", v.whole(160, 900), "perigee", "How low did {e} come?", "with perigee {v}", "size", 0.6),
        number("Apogee (km)|Apogee", v.whole(200, 40000), "apogee", "How high did {e} go?", "with apogee {v}", "size", 0.6),
        part("Outcome|Result|Status", v.pick("Success|Partial failure|Failure|Decayed|In orbit", 4), "outcome|result", "How did {e} turn out?|What was the outcome of {e}?", "that was a {v}|ending in {v}"),
        part("Crew|Commander|Alt name", v.people(6), "commander|crew", "Who was on {e}?|Who flew {e}?", "with {v}|flown by {v}", 0.4),
    ),
    topic(
        "companies", "company|firm", "companies|firms",
        number("Rank|#|No.", v.serial(1, 1), "rank", "What rank is {e}?", "ranked {v}", "rank"),
        key("Company|Name|Firm|Brand", v.text(lambda r: f"{r.choice(w.MAKERS)} {r.choice(('Group', '& Co.', 'Holdings', 'S.p.A.', 'AG', 'plc'))}"), "company|name", "Which company is {e}?|What firm is {e}?", "called {v}|named {v}"),
        part("Headquarters|Headquarter|Base|Head office", v.pick(w.CITIES, 7), "headquarters", "Where is {e} based?|Where are the headquarters of {e}?", "based in {v}|headquartered in {v}"),
        part("Industry|Sector|Business", v.pick("Banking|Oil and gas|Insurance|Food & drink|Mining|Telecommunications|Shipping", 5), "industry|sector", "What industry is {e} in?|What does {e} do?", "in {v}|in the {v} business"),
        number("Revenue (billion $)|Sales (billion $)|Revenue (€ million)|Sales", v.decimal(0.4, 210), "revenue|sales", "How much revenue does {e} have?|What were the sales of {e}?", "with revenue of {v}|making {v}", "size", 0.9),
        number("Profits (billion $)|Profit (€ million)|Net income", v.decimal(0.1, 24), "profit", "How much profit did {e} make?", "with a profit of {v}", "size"),
        number("Employees|Staff|No. of employees", v.whole(80, 240000), "number of employees|staff", "How many people work at {e}?|How many employees does {e} have?", "with {v} employees|that employs {v}", "size"),
        part("CEO|Chairman|Key person", v.people(), "head|chief", "Who runs {e}?|Who is in charge of {e}?", "run by {v}|under {v}", 0.5),
        number("Founded|Established", v.years(1860, 1990, 10), "founding year", "When was {e} founded?|What year was {e} started?", "founded in {v}", "year", 0.6),
    ),
    topic(
        "translations", "word|term", "words|terms",
        key("English|English meaning|Meaning|Translation", v.text(lambda r: f"{r.choice(w.ADJECTIVES).lower()} {r.choice(w.NOUNS).lower()}"), "English meaning|meaning", "What does {e} mean?|What is {e} in English?", "meaning {v}|that means {v}"),
        part("Welsh|Old Norse|Latin|Basque", v.text(lambda r: "".join(r.choice(("ga", "lŵ", "né", "sto", "rí", "ŭm", "ka", "ve")) for _ in range(r.between(2, 4)))), "form|word", "How is {e} said?", "written {v}|said as {v}"),
        part("Breton|Old English|Spanish|Finnish", v.text(lambda r: "".join(r.choice(("bra", "ä", "mo", "éle", "thu", "ñi", "ors")) for _ in range(r.between(2, 4)))), "form|word", "", "written {v}"),
        part("Part of speech|Class|Type", v.pick("Noun (m)|Noun (f)|Adjective|Verb|Phrase", 4), "word class|type", "What sort of word is {e}?|What type is {e}?", "that is a {v}|of type {v}"),
        part("Example|Usage|Full word", v.titles(), "example", "What is an example of {e}?|How is {e} used?", "used in {v}|as in {v}", 0.5),
        number("Frequency|Rank in corpus|Occurrences", v.whole(1, 9000), "frequency|number of occurrences", "How often does {e} occur?", "that occurs {v} times", "size", 0.5),
        part("Notes|Dialect|Region", v.pick("Northern|Archaic|Coastal dialect|Loanword|Children's speech", 4), "notes|dialect", "What dialect is {e}?", "marked {v}|from {v}", 0.6),
    ),
    topic(
        "minerals", "mineral|material", "minerals|materials",
        key("Mineral|Name|Material|Alloy", v.text(lambda r: f"{r.choice(w.LAST).replace(' ', '').replace('.', '')}ite"), "mineral|name", "Which mineral is {e}?|What is {e}?", "called {v}"),
        part("Formula|Chemical formula|Composition", v.text(lambda r: f"{r.choice(('Ca', 'Na2', 'Fe', 'Mg3', 'Cu'))}{r.choice(('SO4', 'CO3', 'SiO4', 'O2', 'S2'))}·{r.between(1, 9)}H2O", 0.1), "formula", "What is the formula of {e}?|What is {e} made of?", "with the formula {v}"),
        part("Crystal system|System|Structure", v.pick("Cubic|Monoclinic|Hexagonal|Triclinic|Orthorhombic", 4), "crystal system", "How does {e} crystallise?|What is the crystal system of {e}?", "that are {v}|in the {v} system"),
        number("Hardness|Mohs hardness|Hardness (Mohs)", v.decimal(1, 9.5), "hardness", "How hard is {e}?", "with a hardness of {v}", "size", 0.9),
        number("Density (g/cm³)|Specific gravity|Density", v.decimal(1.6, 9.8, 2), "density", "How dense is {e}?", "with a density of {v}", "size"),
        part("Colour|Color|Colour/Streak", v.pick("Blue|Yellowish|Deep red|White/Colourless|Green|Black", 5), "colour|color", "What colour is {e}?", "that are {v}|coloured {v}"),
        part("Type locality|Found at|Locality", v.made(v.place, 6), "locality", "Where was {e} found?|Where does {e} come from?", "from {v}|found at {v}"),
        number("Melting point (°C)|Melting point|Temp. (°C)", v.whole(90, 2400), "melting point", "When does {e} melt?", "that melts at {v}", "size", 0.5),
    ),
    topic(
        "timetable", "train|service", "trains|services",
        key("Train No.|Train number|Service", v.pattern("1##1#", 0.0), "train number|number", "What number is {e}?|Which train is {e}?", "number {v}|numbered {v}"),
        part("Train name|Name|Service name", v.text(lambda r: f"{r.choice(w.CITIES)} {r.choice(('Express', 'Mail', 'Night Sleeper', 'Flyer', 'Passenger'))}"), "train name|name", "What is the name of {e}?|What is {e} called?", "called {v}|named {v}"),
        part("Origin|From|Departs from", v.pick(w.CITIES, 6), "origin|starting point", "Where does {e} start?|Where does {e} leave from?", "from {v}|leaving {v}"),
        part("Destination|To|Arrives at", v.pick(w.CITIES, 6), "destination|end", "Where does {e} go?|What is the destination of {e}?", "to {v}|going to {v}"),
        part("Departure|Departure time|Departs", v.clock(240, 1400), "departure|departure time", "When does {e} leave?|What time does {e} depart?", "leaving at {v}|that departs at {v}"),
        part("Arrival|Arrival time|Arrives", v.clock(240, 1400), "arrival|arrival time", "When does {e} get in?|What time does {e} arrive?", "arriving at {v}|that gets in at {v}"),
        part("Frequency|Days|Runs", v.pick("Daily|Weekdays|Sat, Sun|Except Sunday|Tue, Fri|Weekly", 4), "frequency|days", "How often does {e} run?|What days does {e} run?", "that run {v}|running {v}"),
        number("Distance (km)|Stops|Calls", v.whole(3, 1400), "distance|number", "How far does {e} go?", "of {v}", "size", 0.5),
    ),
)
