"""Topics of the corpus: geography, nature and buildings. See `columns.py` for every field."""

# One column a line reads best as a table, however long the line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from harness.data.mini import values as v
from harness.data.mini import words as w
from harness.data.mini.columns import key, number, part, topic


def landform(forms: str) -> v.Values:
    """Different names for rivers, peaks and the like, from `|`-separated forms."""
    options = w.words(forms)
    return v.text(
        lambda r: r.choice(options).format(n=r.choice(w.NOUNS), a=r.choice(w.ADJECTIVES), l=r.choice(w.LAST))
    )


TOPICS = (
    topic(
        "rivers", "river", "rivers",
        key("River|Name|River name", landform("{n} River|River {n}|{a} Creek|{l} Beck|Río {l}|{a} Water|{l}'s Brook"), "river|name", "Which river is {e}?|What is {e} called?", "called {v}|named {v}"),
        number("Length (km)|Length (miles)|Length", v.whole(14, 1900), "length", "How long is {e}?", "{v} km long|with a length of {v}", "size", 0.95),
        number("Basin area (km²)|Drainage area (km²)|Catchment (km²)", v.whole(80, 92000), "drainage area|basin", "How large an area does {e} drain?|How big is the basin of {e}?", "that drains {v}", "size"),
        part("Source|Rises in|Origin", v.pick(w.COUNTIES, 6), "source", "Where does {e} rise?|Where does {e} start?", "that rises in {v}|starting in {v}"),
        part("Outflow|Flows into|Mouth|Tributary of", v.pick("North Sea|Lake Ødegard|Baltic Sea|River Mora|Bay of St. Brendan|Caspian Sea|Black Sea", 4), "outflow|mouth", "Where does {e} end?|What does {e} flow into?", "that flows into {v}|ending in {v}"),
        number("Discharge (m³/s)|Average discharge (m³/s)|Flow", v.decimal(0.6, 88), "discharge|flow", "How much water flows in {e}?", "with a flow of {v}", "size", 0.5),
        part("Countries|Country|State(s)", v.pick(w.COUNTRIES, 4), "country", "What country is {e} in?|Where is {e}?", "in {v}|of {v}", 0.6),
    ),
    topic(
        "mountains", "mountain|peak", "mountains|peaks",
        number("Rank|No.|#", v.serial(1, 1), "rank", "", "ranked {v}", "rank"),
        key("Mountain|Peak|Mountain peak|Summit", landform("Mount {l}|{a} Peak|{l} Fell|Pico {l}|{n} Mountain|Beinn {n}|{l}horn"), "mountain|peak", "Which peak is {e}?|What is {e}?", "called {v}|named {v}"),
        number("Elevation (m)|Height (m)|Elevation", v.whole(480, 6100), "elevation|height", "How high is {e}?|How tall is {e}?", "{v} m high|at {v} metres", "size", 0.95),
        number("Prominence (m)|Prominence|Prom. (m)", v.whole(60, 2800), "prominence", "How prominent is {e}?", "with a prominence of {v}", "size"),
        part("Range|Mountain range|Massif", v.pick("Cold Range|Sierra de Luna|Grey Hills|Tatarka|Western Highlands|Monts d'Aurore", 4), "range", "What range is {e} in?|What range does {e} belong to?", "in the {v}|of the {v}"),
        part("Region|State|Province|Province/Region", v.pick(w.STATES, 5), "region|state", "What region is {e} in?|Where is {e}?", "in {v}"),
        part("First ascent|Climbed by|First climbed by", v.people(7), "first climber|first ascent", "Who climbed {e} first?|Who first climbed {e}?", "first climbed by {v}", 0.5),
        part("Coordinates|Location", v.text(lambda r: f"{r.between(40, 69)}°{r.between(10, 59)}′N {r.between(2, 30)}°{r.between(10, 59)}′E"), "coordinates", "", "at {v}", 0.4),
    ),
    topic(
        "municipalities", "municipality|town", "municipalities|towns",
        key("Municipality|Name|Town|Settlement", v.text(lambda r: f"{r.choice(('Nova', 'Alt', 'Sankt', 'Upper', 'Lower', 'Veliki', 'San', 'Bad'))} {r.choice(w.LAST)}"), "municipality|town", "Which town is {e}?|What place is {e}?", "called {v}|named {v}"),
        number("Population|Population (2011)|Population (2004 estimate)|Pop. 2001", v.whole(310, 186000), "population|number of people", "How many people live in {e}?|What is the population of {e}?", "with {v} people|where {v} people live", "size", 0.95),
        number("Area (km²)|Area km 2|Land area (sq mi)|Area", v.decimal(3.2, 880), "area|size", "How big is {e}?|How large is {e}?", "that covers {v}|with an area of {v}", "size", 0.9),
        part("Density|Density (per km²)|Pop. density", v.decimal_text(4, 960), "population density|density", "How dense is {e}?|What is the density of {e}?", "with {v} people per km²|whose density is {v}"),
        part("District|County|Region|Province", v.pick(w.COUNTIES, 5), "district|county", "What district is {e} in?|Where is {e}?", "in {v}|that belong to {v}"),
        part("Mayor|Current mayor", v.people(), "mayor", "Who is the mayor of {e}?|Who runs {e}?", "run by {v}|with {v} as mayor"),
        part("Dominant religion|Dominant religion (2002)|Main language|Largest ethnic group", v.pick("Orthodox|Catholic|Lutheran|Reformed|Muslim", 4), "majority|main group", "What is dominant in {e}?", "that are {v}", 0.5),
        part("Type|Status", v.pick("Village|Town|City|Parish municipality", 4), "type|status", "What type of place is {e}?", "that is a {v}", 0.6),
        number("Census 1991|1991 census|Population (1991)", v.whole(310, 186000), "1991 population", "How many people lived in {e} in 1991?", "", "size", 0.4),
    ),
    topic(
        "islands", "island", "islands",
        key("Island|Name|Island name", landform("{n} Island|{l} Skerry|Isla {l}|{a} Holm|Great {n}|Little {n}|Inis {l}"), "island", "Which island is {e}?|What is {e} called?", "called {v}"),
        number("Area (ha)|Area (km²)|Size (acres)", v.decimal(0.4, 640), "area|size", "How big is {e}?", "of {v} in size|covering {v}", "size", 0.9),
        number("Population|Inhabitants|Residents", v.skewed(4200), "population|number of inhabitants", "How many people live on {e}?", "with {v} residents", "size", 0.9),
        number("Highest point (m)|Max. elevation (m)|Highest elevation", v.whole(2, 940), "highest point", "How high is {e}?", "that rise to {v}", "size"),
        part("Archipelago|Group|Island group", v.pick("Outer Farn|Lesser Skerries|Las Hermanas|St. Brendan Isles|Åsgrund", 3), "group|archipelago", "Which group is {e} in?", "in the {v}|of the {v} group"),
        part("Ferry port|Main settlement|Largest town", v.pick(w.CITIES, 6), "main town|port", "What is the main town on {e}?", "with the port {v}", 0.6),
        part("Lighthouse|Light", v.pick("Yes|No|Disused|Automatic", 3), "lighthouse", "Does {e} have a lighthouse?", "where the lighthouse is {v}", 0.5),
    ),
    topic(
        "stops", "station|stop", "stations|stops",
        key("Station|Stop|Station name|Name", v.text(lambda r: f"{r.choice(w.LAST)} {r.choice(('Road', 'Junction', 'Park', 'Street', 'Central', 'Halt', 'Square'))}"), "station|stop", "Which station is {e}?|What stop is {e}?", "called {v}"),
        part("Line|Lines|Line(s)|Route", v.pick("Green Line|Line 4|Harbour Loop|Northern|Ring Line|M2", 4), "line", "What line is {e} on?|Which line serves {e}?", "on the {v}|served by the {v}"),
        number("Opened|Year opened|Opening", v.years(1868, 1990, 8), "opening year", "When did {e} open?|What year was {e} opened?", "opened in {v}|that opened in {v}", "year"),
        number("Platforms|No. of platforms|Tracks", v.whole(1, 9), "number of platforms", "How many platforms are at {e}?|How many tracks does {e} have?", "with {v} platforms"),
        part("Zone|Fare zone|Fare", v.pick("1|2|3|2/3|4|Airport", 4), "zone", "What zone is {e} in?", "in zone {v}"),
        part("Location|Borough|Managed by|Neighborhood", v.pick(w.CITIES, 6), "location|place", "Where is {e}?|What area is {e} in?", "in {v}|located in {v}"),
        part("Passengers|Annual entry/exit (millions)|Usage", v.decimal_text(0.1, 29, 2), "number of passengers", "How many passengers use {e}?", "used by {v} million"),
        part("Notes|Connections|Interchange", v.pick("Bus 12, 40|Ferry|Step-free|Closed Sundays|Terminus|Tram 7", 5), "notes|connections", "What connects at {e}?", "with {v} noted", 0.5),
    ),
    topic(
        "airports", "airport", "airports",
        key("Airport|Airport name|Name", v.text(lambda r: f"{r.choice(w.CITIES)} {r.choice(('International Airport', 'Airport', 'Regional Airport', 'Airfield'))}"), "airport", "Which airport is {e}?|What is the airport {e}?", "called {v}"),
        part("City|City served|Location", v.pick(w.CITIES, 14), "city", "What city is {e} in?|Where is {e}?", "in {v}|serving {v}"),
        part("IATA|IATA code|Code", v.pattern("@@@", 0.0), "IATA code|code", "What is the code of {e}?", "with the code {v}", 0.95),
        part("ICAO|ICAO code", v.pattern("E@@@", 0.0), "ICAO code", "What is the ICAO of {e}?", "with ICAO {v}"),
        number("Passengers|Total passengers|Passengers (2008)", v.whole(9000, 18000000), "number of passengers|passengers", "How many passengers used {e}?|How many people flew from {e}?", "with {v} passengers", "size", 0.9),
        number("Rank|Rank 2008|#", v.serial(1, 1), "rank", "What rank is {e}?|Where does {e} rank?", "ranked {v}", "rank", 0.6),
        part("% change|Change (07/08)|Change 2007/08", v.text(lambda r: f"{r.choice(('', '−', '-'))}{r.between(0, 28)}.{r.between(0, 9)}%", 0.05), "change", "How much did traffic at {e} change?", "with a change of {v}"),
        number("Aircraft movements|Movements|Cargo (tonnes)", v.whole(200, 240000), "movements|traffic", "", "with {v} of them", "size", 0.5),
    ),
    topic(
        "buildings", "building|tower", "buildings|towers",
        number("Rank|#|No.", v.serial(1, 1), "rank", "", "ranked {v}", "rank", 0.7),
        key("Building|Name|Name of building|Structure", v.text(lambda r: f"{r.choice(('One', 'The', 'Two', 'Hotel', 'Torre', 'Old'))} {r.choice(w.NOUNS)} {r.choice(('Tower', 'Plaza', 'House', 'Centre', 'Place'))}"), "building", "Which building is {e}?|What is {e} called?", "called {v}|named {v}"),
        part("City|Location|Town", v.pick(w.CITIES, 6), "city|location", "Where is {e}?|What city is {e} in?", "in {v}"),
        part("Height|Height m (ft)|Height ft (m)", v.text(lambda r: (lambda m: f"{m} m ({round(m * 3.281)} ft)")(r.between(60, 320))), "height", "How tall is {e}?|How high is {e}?", "that is {v} tall|standing {v}"),
        number("Floors|Stories|Storeys", v.whole(9, 74), "number of floors|floors", "How many floors does {e} have?|How many stories is {e}?", "with {v} floors|that has {v} stories", keep=0.9),
        number("Year|Completed|Built|Year completed", v.years(1890, 2005, 6), "year of completion|year built", "When was {e} built?|What year was {e} finished?", "built in {v}|finished in {v}", "year"),
        part("Status|Use|Main use", v.pick("Completed|Under construction|Proposed|On hold|Demolished", 3), "status|use", "What is the status of {e}?", "that is {v}|which are {v}", 0.6),
        part("Architect|Architect(s)|Designed by", v.people(5), "architect", "Who designed {e}?|Who was the architect of {e}?", "designed by {v}|by {v}"),
    ),
    topic(
        "bridges and dams", "dam|structure", "dams|structures",
        key("Dam|Name|Bridge|Dam name", landform("{l} Dam|{n} Bridge|{a} Weir|Pont de {l}|{l} Viaduct|{n} Barrage"), "name|structure", "What is {e} called?|Which one is {e}?", "called {v}"),
        part("River|Crosses|Reservoir|Lake", landform("{n} River|River {l}|{a} Creek"), "river", "What river is {e} on?|What does {e} cross?", "on the {v}|crossing the {v}"),
        number("Crest length (meters)|Length (m)|Main span (m)|Span", v.whole(40, 1900), "length|span", "How long is {e}?", "{v} m long|with a span of {v}", "size"),
        number("Height (m)|Height (meters)|Clearance (m)", v.whole(6, 220), "height", "How high is {e}?", "{v} m high", "size"),
        part("Type|Design|Dam type", v.pick("Gravity|Arch|Earth fill|Suspension|Truss|Rock-fill", 4), "type|design", "What type is {e}?|What kind of structure is {e}?", "of the {v} type|that are {v}"),
        number("Year built|Opened|Built|Construction completed", v.years(1870, 1990, 8), "year built|year", "When was {e} built?|What year did {e} open?", "built in {v}|opened in {v}", "year"),
        part("Location|County|Nearest town", v.made(v.place, 7), "location", "Where is {e}?", "in {v}|near {v}"),
        part("Purpose|Owner|Use", v.pick("Hydroelectric|Irrigation|Flood control|Water supply|Rail|Road & rail", 4), "purpose|use", "What is {e} for?|What is the purpose of {e}?", "for {v}|used for {v}", 0.6),
    ),
    topic(
        "species", "species|animal", "species|animals",
        key("Common name|Name|English name|Species", v.text(lambda r: r.choice(w.SPECIES)), "common name|species", "What is the common name of {e}?|What is {e}?", "called {v}|known as {v}"),
        part("Scientific name|Binomial|Latin name|Binomial name", v.text(lambda r: f"{r.choice(w.GENERA)} {r.choice(w.LATIN).lower()}"), "scientific name|Latin name", "What is the scientific name of {e}?|What is {e} called in Latin?", "known as {v}|with the Latin name {v}"),
        part("Authority|Author|Species Authority|Described by", v.text(lambda r: f"{r.choice(w.LAST)}, {r.between(1760, 1920)}", 0.1), "authority", "Who described {e}?|Who named {e}?", "described by {v}|by {v}"),
        part("Order|Family|Class", v.pick("Carnivora|Passeriformes|Squamata|Orchidaceae|Rodentia|Caudata", 4), "order|family", "What order is {e} in?", "in {v}|of the {v}"),
        part("Status|Conservation status|Red List|Red List 2009", v.pick("Least concern|Vulnerable|Endangered|Near threatened|Extinct", 4), "conservation status|status", "How is {e} listed?|What is the status of {e}?", "listed as {v}|that are {v}"),
        part("Habitat|Distribution|Range", v.pick("Wetland|Heath|Upland forest|Coastal dunes|Rivers & lakes|Limestone pavement", 5), "habitat|range", "Where does {e} live?|Where is {e} found?", "living in {v}|found in {v}"),
        number("Population (est.)|Breeding pairs|Individuals", v.whole(12, 64000), "estimated population|number left", "How many of {e} are there?", "with {v} left", "size", 0.6),
        number("Body mass (kg)|Length (cm)|Wingspan (cm)", v.decimal(0.2, 210), "size|measure", "How big is {e}?", "of {v}", "size", 0.5),
    ),
    topic(
        "stars", "star|object", "stars|objects",
        key("Name|Star|Object|NGC number", v.text(lambda r: f"{r.choice(('NGC', 'HD', 'Kestrel', 'Gliese', 'SV'))} {r.between(101, 9890)}"), "name|object", "Which object is {e}?|What is {e}?", "called {v}|known as {v}"),
        part("Constellation|Const.", v.pick("Lyra|Boötes|Cygnus|Ursa Minor|Orion|Vela|Draco", 5), "constellation", "What constellation is {e} in?|Where in the sky is {e}?", "in {v}|found in {v}", 0.95),
        part("Type|Object type|Spectral type|Class", v.pick("Spiral galaxy|Open cluster|Planetary nebula|G2V|K0III|Barred spiral", 5), "type|class", "What type of object is {e}?|What is {e} classed as?", "of type {v}|that are a {v}"),
        part("Right ascension (J2000)|Right ascension|RA", v.text(lambda r: f"{r.between(0, 23):02}h{r.between(0, 59):02}m{r.between(0, 59):02}s"), "right ascension", "", "at {v}"),
        part("Declination (J2000)|Declination|Dec.", v.text(lambda r: f"{r.choice('+−')}{r.between(0, 80)}°{r.between(0, 59)}′"), "declination", "", "with declination {v}"),
        number("Apparent magnitude|Magnitude|App. mag.", v.decimal(1.2, 14.8), "magnitude|brightness", "How bright is {e}?", "of magnitude {v}", "size", 0.9),
        number("Distance (ly)|Distance|Distance (pc)", v.decimal(4.2, 990), "distance", "How far away is {e}?", "{v} light years away|at a distance of {v}", "size"),
        part("Discovered by|Discoverer|Observer", v.people(4), "discoverer", "Who discovered {e}?|Who found {e}?", "found by {v}|discovered by {v}", 0.5),
    ),
)
