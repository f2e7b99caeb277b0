"""Topics of the corpus: screen, stage, music and print. See `columns.py` for every field."""

# One column a line reads best as a table, however long the line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from harness.data.mini import values as v
from harness.data.mini import words as w
from harness.data.mini.columns import key, number, part, topic

YEAR = number("Year|Year(s)|Year released|Season", v.years(1950, 2012, 2), "year", "What year was {e}?|When was {e}?", "in {v}|from {v}", "year", 0.9)
ROLE_WORDS = "Inspector|Dr.|Aunt|Captain|Young|Old|Miss|Sergeant"
GENRES = "Drama|Comedy|Documentary|Thriller|Musical|Western|Animation|Horror"

TOPICS = (
    topic(
        "episodes", "episode|show", "episodes|shows",
        number("No. in series|No. overall|Series #|No.", v.serial(1, 90), "series number|overall number|number in the series", "What number in the series is {e}?", "number {v} in the series|numbered {v}", "rank"),
        number("No. in season|Season #|Episode #|No. in season #", v.serial(1, 1), "episode number|number in the season", "What number in the season was {e}?", "that was number {v} in the season", "rank", 0.7),
        key("Title|Episode title|Episode name", v.titles(True), "title|name", "What is the name of {e}?|What is {e} called?", "titled {v}|called {v}|with the title {v}"),
        part("Directed by|Director|Director(s)", v.people(4), "director", "Who directed {e}?|Who was the director of {e}?", "directed by {v}|that {v} directed"),
        part("Written by|Writer(s)|Writer", v.people(6), "writer", "Who wrote {e}?|Who was {e} written by?|Who is the writer of {e}?", "written by {v}|that {v} wrote"),
        part("Original air date|Original airdate|Air date|First aired", v.dates("mdy"), "air date|date it aired", "When did {e} air?|When did {e} first air?|What day was {e} shown?", "that aired on {v}|aired {v}|first shown on {v}"),
        part("Production code|Prod. code|Production number", v.pattern("1@##", 0.02), "production code", "What is the production code of {e}?", "with code {v}|whose production code is {v}"),
        part("U.S. viewers (million)|U.S. viewers (millions)|Viewers (in millions)|UK viewers (millions)", v.decimal_text(1.1, 19.9, 2), "number of viewers|viewers in millions", "How many million people watched {e}?|How many viewers saw {e}?|How many viewers in millions did {e} get?", "seen by {v} million people|with {v} million viewers|watched by {v} million"),
        part("Featured character(s)|Featuring", v.people(5), "featured character", "Who was featured in {e}?", "featuring {v}", 0.3),
    ),
    topic(
        "ratings", "episode|broadcast", "episodes|broadcasts",
        number("Order|#|Ep. no.", v.serial(1, 1), "order|number", "", "number {v}", "rank"),
        key("Episode|Title|Programme", v.titles(), "episode|programme", "What was {e}?", "called {v}|titled {v}"),
        part("Air date|Airdate|Date of broadcast", v.dates(), "broadcast date|date", "When did {e} air?", "that aired {v}|broadcast on {v}"),
        part("Timeslot|Time slot (EST)|Timeslot (EST)", v.pick("Thursday 8:00 p.m.|Sunday 9:00 p.m.|Friday 8:30 p.m.|Tuesday 10:00 p.m.|Monday 9:30 p.m.", 3), "timeslot|time", "What time did {e} air?|What slot was {e} in?", "shown {v}|in the {v} slot", 0.6),
        number("Rating|Household rating|Rating (18-49)", v.decimal(1, 11), "rating", "How was {e} rated?", "rated {v}|with a {v} rating", "size"),
        number("Share|Share (%)|Audience share", v.whole(3, 22), "share", "What share did {e} get?", "with a share of {v}", "size", 0.7),
        part("Rating/Share 18–49|18–49 (Rating/Share)|18-49", v.text(lambda r: f"{r.between(10, 49) / 10}/{r.between(3, 14)}", 0.1), "18-49 rating", "", "", 0.5),
        part("Viewers (m)|Viewers (millions)|Total viewers", v.decimal_text(1.5, 18, 2), "number of viewers", "How many people saw {e}?|How many viewers did {e} have?", "with {v} viewers|viewed by {v} million"),
        part("Rank (#)|Weekly rank|Rank (week)", v.pattern("1#", 0.1), "weekly rank", "Where did {e} rank that week?", "ranked {v}", 0.5),
    ),
    topic(
        "films", "film|movie", "films|movies",
        YEAR,
        key("Film|Title|Film title|Film title used in nomination", v.titles(), "film|movie", "What was {e}?|Which movie was {e}?", "called {v}|titled {v}"),
        part("Original title|Native title", v.titles(), "original title", "What was {e} originally called?", "originally called {v}", 0.4),
        part("Director|Directed by|Director(s)", v.people(7), "director", "Who directed {e}?|Who made {e}?", "directed by {v}|made by {v}|by {v}"),
        part("Language(s)|Language|Main language", v.pick(w.LANGUAGES, 5), "language", "What language was {e} in?|What language is spoken in {e}?", "in {v}|spoken in {v}"),
        part("Studio|Distributor|Production company", v.pick("Lantern Pictures|Northlight|Grand Union Films|Estrella Cine|Blue Door|Crown Studios", 4), "studio", "What studio made {e}?|Who released {e}?", "from {v}|released by {v}"),
        part("Result|Outcome|Status", v.pick("Nominated|Won|Not nominated|Shortlisted", 3), "result", "How did {e} do?", "that was {v}|whose result was {v}"),
        part("Gross|Worldwide gross|Box office", v.grouped(200000, 90000000, "$"), "box office|takings", "How much did {e} make?|What did {e} gross?", "that grossed {v}|which took {v}", 0.6),
        number("Running time (min)|Length (min)|Minutes", v.whole(70, 190), "length|running time", "How long is {e}?", "lasting {v} minutes|that runs {v} minutes", "size", 0.5),
    ),
    topic(
        "cast", "role|part", "roles|parts",
        YEAR,
        key("Title|Production|Work|Show", v.titles(), "title|production", "What was {e} in?", "in {v}"),
        part("Role|Character|Role(s)|Played", v.text(lambda r: f"{r.choice(w.words(ROLE_WORDS))} {r.choice(w.LAST)}", 0.1), "role|character", "Who did she play in {e}?|What was {e}?", "as {v}|playing {v}"),
        part("Network|Channel|Broadcaster", v.pick(w.NETWORKS, 4), "network|channel", "What network was {e} on?|Who aired {e}?", "on {v}|aired by {v}"),
        part("Notes|Note|Remarks", v.pick("Main cast|Guest star|Television film|Episode: \"Pilot\"|Voice only|Uncredited|3 episodes|Nominated — Best Newcomer", 5), "notes", "What are the notes for {e}?", "noted as {v}|with the note {v}", 0.8),
        part("Genre|Type", v.pick(GENRES, 4), "genre|kind", "What kind of work was {e}?", "that was a {v}", 0.5),
    ),
    topic(
        "awards", "award|nomination", "awards|nominations",
        YEAR,
        part("Award|Award ceremony|Ceremony|Organisation", v.pick("Silver Lantern Awards|Stage Critics' Circle|Golden Reel|National Music Prize|Northern Lights Awards|Drama Guild", 4), "award|ceremony", "What award was {e} for?|What ceremony had {e}?", "at the {v}|from the {v}"),
        part("Category|Award category", v.pick("Best Actress|Best Actor|Outstanding Direction|Best Original Score|Best New Artist|Best Supporting Actor|Song of the Year|Best Costume Design", 6), "category", "What category was {e} in?", "for {v}|in the {v} category"),
        key("Nominee|Recipient|Nominated work|Nominee(s)", v.text(lambda r: v.person(r) if r.chance(0.5) else v.title(r), 0.1), "nominee|work", "Who was nominated for {e}?|Who got {e}?", "for {v}|given to {v}"),
        part("Result|Outcome|Results", v.pick("Won|Nominated|Honored|2nd place", 3), "result|outcome", "What was the result of {e}?", "that was {v}|with the result {v}", 0.95),
        part("Ref.|Notes|Role/Episode", v.titles(), "notes", "", "", 0.3),
    ),
    topic(
        "dance show", "couple|pair", "couples|pairs",
        key("Couple|Celebrity|Couple(s)", v.text(lambda r: f"{r.choice(w.FIRST)} & {r.choice(w.FIRST)}"), "couple", "Which couple was {e}?|Who were {e}?", "called {v}"),
        part("Style|Dance|Dance style", v.pick("Waltz|Cha-Cha-Cha|Rumba|Paso Doble|Quickstep|Jive|Argentine Tango", 5), "dance", "What did {e} dance?|Which dance did {e} do?", "dancing the {v}|who danced {v}"),
        part("Music|Song|Song choice", v.titles(True), "music|song", "What song did {e} dance to?|What was the music for {e}?", "who danced to {v}|with {v} as the music"),
        part("Judges' scores|Scores|Score", v.text(lambda r: (lambda a: f"{sum(a)} ({', '.join(map(str, a))})")([r.between(4, 10) for _ in range(3)]), 0.1), "score", "What did {e} score?|How were {e} scored?", "who scored {v}|with {v} from the judges"),
        number("Total|Total score|Combined total", v.whole(12, 60), "total|total score", "What total did {e} get?", "with a total of {v}", "size"),
        part("Result|Outcome|Status", v.pick("Safe|Bottom two|Eliminated|Withdrew|Winners", 4), "result", "What happened to {e}?|What was the result for {e}?", "who were {v}|whose result was {v}"),
        part("Vote percentage|Public vote|Votes (%)", v.decimal_text(1, 32, 3, "%"), "vote percentage", "What percentage of the vote went to {e}?", "with {v} of the vote", 0.5),
    ),
    topic(
        "albums", "album|record", "albums|records",
        YEAR,
        key("Album|Title|Album title", v.titles(), "album|title", "What is {e}?|What was the name of {e}?", "called {v}|titled {v}"),
        part("Artist|Performer|Band", v.text(lambda r: v.person(r) if r.chance(0.5) else f"The {r.choice(w.NOUNS)}s", 0.3), "artist|performer", "Who recorded {e}?|Who is the artist of {e}?|Who made {e}?", "by {v}|recorded by {v}"),
        part("Label|Record label|Released by", v.pick(w.LABELS, 4), "label", "What label put out {e}?|Who released {e}?|Which label is {e} on?", "on {v}|released by {v}|on the {v} label"),
        part("Format|Format(s)|Formats", v.pick("CD|LP|CD, download|Cassette|2xLP|12\" vinyl", 4), "format", "What format was {e} released in?", "released as {v}|on {v}"),
        part("Release date|Date of release|Released", v.dates(), "release date", "When was {e} released?|When did {e} come out?", "released {v}|that came out on {v}", 0.7),
        part("Peak position|Chart position|Peak chart positions", v.pattern("1#", 0.2), "peak position|chart position", "How high did {e} get?|What was the peak of {e}?", "that peaked at {v}|which reached {v}"),
        number("Sales|Copies sold|Units sold", v.whole(9000, 900000), "sales|number sold", "How many copies of {e} were sold?", "that sold {v} copies|with sales of {v}", "size", 0.6),
        part("Certification|Certifications|RIAA", v.pick("Gold|Platinum|2× Platinum|—|Silver", 3), "certification", "How is {e} certified?", "certified {v}", 0.4),
    ),
    topic(
        "chart", "song|single", "songs|singles",
        number("Week|Issue no.|No.|#", v.serial(1, 40), "week|number", "", "in week {v}|number {v}", "rank"),
        key("Song|Single|Song title|Title", v.titles(True), "song|single", "What song is {e}?|Which single was {e}?", "called {v}|titled {v}"),
        part("Artist|Artist(s)|Performer|Original artist", v.people(8), "artist|singer", "Who sang {e}?|Who is the artist for {e}?", "by {v}|sung by {v}|that {v} sang"),
        part("Songwriter(s)|Writer(s)|Composer|Lyricist", v.people(6), "writer|composer", "Who wrote {e}?|Who composed {e}?", "written by {v}|that {v} composed"),
        part("Issue date|Issue date(s)|Reached number one|Date", v.dates(), "issue date|date", "When did {e} reach the top?|What is the date for {e}?", "on {v}|that got there on {v}"),
        number("Weeks on top|Weeks on chart|Weeks at No. 1|Wks", v.skewed(20), "weeks at the top|number of weeks", "How many weeks was {e} on top?|How long did {e} stay on the chart?", "that spent {v} weeks there|with {v} weeks"),
        part("Length|Time|Duration", v.clock(120, 420), "length|duration", "How long is {e}?|What is the length of {e}?", "that lasts {v}|with a time of {v}"),
        part("Genre|Theme", v.pick("Rock|Pop|Country|Folk|Soul|Electronic|Ballad", 4), "genre|theme", "What genre is {e}?", "in the {v} genre", 0.4),
    ),
    topic(
        "song contest", "entry|song", "entries|songs",
        number("Draw|Order|Running order|R/O", v.serial(1, 1), "draw|order", "What was the draw of {e}?", "drawn {v}|with draw {v}", "rank", 1.0),
        key("Artist|Performer|Singer", v.people(), "artist|singer", "Who sang {e}?|Who performed {e}?", "sung by {v}|by {v}|performed by {v}"),
        part("Song|Title|Song title", v.titles(True), "song", "What was {e} called?|What song was {e}?", "called {v}|titled {v}", 0.95),
        part("Country|Region|City", v.pick(w.COUNTRIES, 14), "country", "Where was {e} from?|What country sent {e}?", "from {v}|for {v}"),
        part("Language|Language(s)", v.pick(w.LANGUAGES, 4), "language", "What language was {e} in?", "in {v}|sung in {v}", 0.6),
        part("English translation|Translation", v.titles(), "translation|English meaning", "What does the title of {e} mean?", "which means {v}", 0.4),
        number("Jury|Jury votes|Juries", v.whole(0, 120), "jury points|jury vote", "How many points did the jury give {e}?", "with {v} from the jury", keep=0.5),
        number("Televote|Televotes|Public", v.whole(0, 9000), "televotes|public vote", "How many televotes went to {e}?", "with {v} televotes", keep=0.5),
        number("Points|Total|Pts", v.whole(0, 240), "points|point total", "How many points did {e} get?|How many points were given to {e}?", "that got {v} points|with {v} points"),
        number("Place|Position|Rank", v.whole(1, 20), "place|position", "What place did {e} come in?|Where did {e} finish?", "in place {v}|that finished {v}", "rank"),
    ),
    topic(
        "books", "book|novel", "books|novels",
        YEAR,
        key("Title|Book|Book title|English title", v.titles(), "title|book", "What is {e}?|What is the title of {e}?", "called {v}|titled {v}"),
        part("Author|Author(s)|Written by", v.people(7), "author|writer", "Who wrote {e}?|Who is the author of {e}?", "by {v}|written by {v}"),
        part("Publisher|Published by|Imprint", v.pick("Harrow & Vale|Old Quay Press|Editorial Faro|Nordlys Forlag|Pemberton House|Sickle Moon", 4), "publisher", "Who published {e}?|Who put out {e}?", "published by {v}|from {v}"),
        part("ISBN|ISBN (first ed.)|Catalogue no.", v.pattern("0-1##-1####-#", 0.0), "ISBN|number", "", "with ISBN {v}|numbered {v}", 0.6),
        number("Pages|No. of pages|Page count", v.whole(90, 780), "number of pages|pages", "How many pages does {e} have?|How long is {e}?", "of {v} pages|with {v} pages", "size"),
        part("Illustrator|Reader|Audio reader|Cover artist", v.people(4), "illustrator|reader", "Who worked on {e}?", "with {v}", 0.4),
        part("Companion(s)|Featuring|Series", v.pick("The Lowland Cycle|Standalone|Mrs. Quill Mysteries|Tales of Mora|The Ferryman's Son", 4), "series", "What series is {e} in?", "in {v}|featuring {v}", 0.4),
    ),
    topic(
        "stations", "station|channel", "stations|channels",
        key("Call sign|Callsign|Callsign(s)|Station", v.pattern("@@@@-FM", 0.0), "call sign|station", "What is {e}?|Which station is {e}?", "with call sign {v}|called {v}"),
        part("Frequency|Frequency MHz|Freq. (MHz)", v.text(lambda r: f"{r.between(879, 1079) / 10} FM" if r.chance(0.3) else f"{r.between(879, 1079) / 10}", 0.1), "frequency", "What frequency is {e} on?", "at {v}|broadcasting on {v}"),
        part("City of license|City of License|City of license/Market|Location", v.made(v.place, 8), "city of license|city", "Where is {e} licensed?|What city is {e} in?", "in {v}|licensed to {v}"),
        part("Owner|Licensee|Owned by", v.pick("Harbor Media|Prairie Public|Saint Brigid's Radio Trust|Kestrel Broadcasting|Two Rivers Group", 4), "owner", "Who owns {e}?", "owned by {v}|that {v} owns"),
        part("Format|Programming|Content", v.pick("Country|Talk|Classic hits|Religious|Jazz|Top 40|Public radio", 5), "format|kind of programming", "What does {e} play?|What is the programming of {e}?", "that plays {v}|with {v} programming"),
        number("ERP W|ERP (W)|Power (kW)|Power", v.whole(10, 50000), "power", "How powerful is {e}?|How many watts does {e} have?", "with {v} watts", "size"),
        part("FCC info|Class|Class FCC", v.pick("A|B|C1|C3|D", 4), "class|FCC class", "What class is {e}?", "of class {v}", 0.7),
        part("Channel|Virtual channel|Ch.", v.pattern("1#.1", 0.1), "channel", "What channel is {e} on?", "on channel {v}", 0.4),
    ),
)
