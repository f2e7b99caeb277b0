"""Topics of the corpus: politics, history and society. See `columns.py` for every field."""

# One column a line reads best as a table, however long the line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from harness.data.mini import values as v
from harness.data.mini import words as w
from harness.data.mini.columns import key, number, part, topic
from harness.data.mini.rng import Rng


def district(rng: Rng) -> str:
    """A numbered constituency."""
    return f"{rng.choice(w.STATES)} {rng.between(1, 20)}"


def span(rng: Rng) -> str:
    """Years of office."""
    year = rng.between(1860, 1995)
    return f"{year}–{year + rng.between(1, 12)}"


TOPICS = (
    topic(
        "congress", "incumbent|representative", "incumbents|representatives",
        key("District|Constituency|Seat", v.text(district), "district|seat", "What district is {e} from?|Which district does {e} represent?", "from {v}|in the {v} district|of {v}"),
        part("Incumbent|Member|Representative", v.people(), "incumbent|member", "Who is {e}?|Who was {e}?", "named {v}", 1.0),
        part("Party|Political party|Affiliation", v.pick(w.PARTIES, 4), "party|political party", "What party is {e} in?|What party does {e} belong to?", "from the {v} party|who is {v}|of the {v}"),
        number("First elected|Elected|Year first elected", v.years(1930, 2008, 3), "first election|year of election", "When was {e} first elected?|What year was {e} elected?", "first elected in {v}|elected in {v}", "year", 0.9),
        part("Result|Results|Status", v.pick("Re-elected|Lost re-election Liberal gain|Retired Green hold|Re-elected unopposed|Lost renomination", 4), "result", "What happened to {e}?|What was the result for {e}?", "who was {v}|with the result {v}"),
        part("Candidates|Opponents", v.text(lambda r: f"{v.person(r)} ({r.choice('LCGR')}) {r.between(51, 79)}.{r.between(0, 9)}% {v.person(r)} ({r.choice('DWN')}) {r.between(20, 48)}.{r.between(0, 9)}%"), "candidates", "Who ran against {e}?", "", 0.5),
    ),
    topic(
        "party results", "election", "elections",
        number("Election|Year|Election year", v.years(1921, 1960, 4), "election year|year", "When was {e}?|What year was {e}?", "in {v}|held in {v}", "year", 1.0),
        part("Leader|Party leader|Candidate", v.people(5), "leader", "Who led the party in {e}?|Who was the leader in {e}?", "under {v}|led by {v}"),
        number("Votes|# of total votes|Number of votes", v.whole(12000, 2200000), "number of votes|vote total", "How many votes did they get in {e}?", "with {v} votes", "size", 0.9),
        number("Vote %|% of popular vote|% of overall vote", v.decimal(2, 52), "share of the vote|percentage", "What percentage did they win in {e}?", "with {v} percent", "size", 0.9),
        number("Seats|# of seats won|Seats won|Candidates elected", v.whole(0, 120), "number of seats|seats", "How many seats were won in {e}?|How many seats did they get in {e}?", "with {v} seats|that gave {v} seats", keep=0.95),
        part("+/–|Change|Seat change", v.text(lambda r: f"{r.choice(('+', '–'))}{r.between(0, 30)}", 0.1), "change", "", "with a change of {v}", 0.6),
        part("Government|Position|Status", v.pick("Majority government|Opposition|Minority coalition|Third party|Extra-parliamentary", 4), "government|outcome", "What kind of government came from {e}?", "that led to {v}|with {v} as the outcome", 0.8),
    ),
    topic(
        "county vote", "county", "counties",
        key("County|Parish|Municipality", v.text(lambda r: r.choice(w.COUNTIES)), "county", "Which county is {e}?", "called {v}"),
        part("Calloway %|Holloway (D) %|Reform %", v.decimal_text(20, 60, 1, "%"), "percentage"),
        number("Calloway #|Holloway (D)|Reform votes", v.whole(400, 98000), "number of votes", keep=0.9),
        part("Marchetti %|Marchetti (R) %|Whig %", v.decimal_text(20, 60, 1, "%"), "percentage"),
        number("Marchetti #|Marchetti (R)|Whig votes", v.whole(400, 98000), "number of votes"),
        part("Others %|Others%|Undecided", v.decimal_text(0, 9, 1, "%"), "share of others", "What percentage went to others in {e}?", "where others had {v}"),
        number("Others #|Others|Other votes", v.whole(5, 3000), "votes for others", "How many votes were for others in {e}?", "with {v} for others", keep=0.6),
        number("Total|Total votes|Turnout", v.whole(2000, 200000), "vote total|turnout", "How many people voted in {e}?", "with {v} voters", "size", 0.6),
    ),
    topic(
        "poll", "poll|survey", "polls|surveys",
        part("Poll source|Polling firm|Pollster", v.pick("Northgate Research|Tribune/KLRW|Opinión Sur|Civic Pulse|Wainwright Poll|University of Dundee", 5), "poll source|pollster", "Who did {e}?|Which firm ran {e}?", "by {v}|from {v}", 0.95),
        key("Date(s) administered|Dates|Date(s) conducted|Date", v.dates("mdy"), "date|dates", "When was {e} done?|When was {e} taken?", "on {v}|taken {v}|from {v}"),
        number("Sample size|Sample|Respondents", v.whole(380, 2400), "sample size|number of people asked", "How many people were asked in {e}?", "of {v} people|with {v} people", "size"),
        part("Margin of error|Error|MoE", v.pick("±3%|±4%|±2.5%|±3.5%|±5%", 4), "margin of error", "What was the margin of error of {e}?", "with an error of {v}", 0.6),
        part("Fitzgerald (L)|Ashdown|Liberal", v.decimal_text(20, 58, 0, "%"), keep=0.9),
        part("Okonkwo (C)|Thornbury|Conservative", v.decimal_text(20, 55, 0, "%"), keep=0.9),
        part("Undecided|Don't know|None/Undecided", v.decimal_text(1, 24, 0, "%"), "undecided share", "How many were undecided in {e}?", "with {v} undecided"),
        number("Lead|Lead (points)", v.skewed(20), "lead", "How big was the lead in {e}?", "with a lead of {v}", "size", 0.4),
    ),
    topic(
        "managers", "manager|coach", "managers|coaches",
        part("Team|Club|School", v.text(v.club, 0.05), "team|club", "Which club changed its {e}?|What club was {e} at?", "at {v}|of {v}", 0.95),
        key("Outgoing manager|Outgoing head coach|Outgoing", v.people(), "outgoing manager|manager who left", "Who left as {e}?|Who was {e}?", "named {v}"),
        part("Manner of departure|Reason|Manner", v.pick("Sacked|Resigned|End of contract|Mutual consent|Signed by rivals|Retired", 4), "manner of departure|reason for leaving", "Why did {e} leave?|How did {e} go?", "who {v}|whose reason was {v}"),
        part("Date of vacancy|Vacancy|Date left", v.dates(), "date of vacancy|date", "When did {e} leave?|When was the vacancy for {e}?", "who left on {v}|gone on {v}"),
        part("Replaced by|Incoming manager|Successor|Incoming head coach", v.people(), "replacement|successor", "Who replaced {e}?|Who took over from {e}?", "replaced by {v}|followed by {v}"),
        part("Date of appointment|Date of appointment|Date hired", v.dates(), "date of appointment|start date", "When was the successor of {e} appointed?|When was {e}'s replacement hired?", "with an appointment on {v}|whose successor came on {v}", 0.95),
        part("Position in table|Table position|Place", v.pick("Pre-season|4th|16th|20th|Off-season|11th|7th", 5), "place in the table|position", "Where was the team of {e} in the table?", "when in {v}", 0.6),
    ),
    topic(
        "ministers", "minister|office holder", "ministers|office holders",
        number("No.|#|Order", v.serial(1, 30), "number", "", "number {v}", "rank", 0.7),
        key("Minister|Name|Governor|Mayor", v.people(), "minister|name", "Who was {e}?|Who held office as {e}?", "named {v}"),
        part("Party|Political party", v.pick(w.PARTIES, 4), "party", "What party was {e} from?", "from the {v}|of the {v} party"),
        part("Portfolio|Office|Title", v.pick("Finance|Justice|Foreign Affairs|Agriculture & Fisheries|Women's Affairs|Defence|Railways", 5), "portfolio|office", "What was {e} minister of?|What did {e} do?", "of {v}|in charge of {v}"),
        part("Took office|Date of appointment|Term start|Appointed", v.dates(), "start of the term|date", "When did {e} take office?|When did {e} start?", "who took office on {v}|appointed {v}", 0.9),
        part("Left office|Term end|Until", v.dates(), "end of the term", "When did {e} leave?|When did {e}'s term end?", "who left on {v}|until {v}"),
        number("Days in office|Term (days)|Duration (days)", v.whole(40, 3900), "time in office|days", "How many days did {e} serve?|How long was {e} in office?", "who served {v} days", "count", 0.5),
        part("Home state|Born in|Birthplace", v.pick(w.STATES, 6), "birthplace|home state", "Where was {e} born?|Where is {e} from?", "born in {v}|from {v}", 0.5),
    ),
    topic(
        "monarchs", "king|ruler", "kings|rulers",
        key("Name|Ruler|King|Monarch", v.text(lambda r: f"{r.choice(w.FIRST)} {r.choice(('I', 'II', 'III', 'IV', 'V', 'VI'))}"), "name|ruler", "Who was {e}?|What was the name of {e}?", "named {v}"),
        part("House|Dynasty", v.pick("House of Marlow|House of Skåne|Aldermark|House of St. Clair|Thorne dynasty", 3), "house|dynasty", "What house was {e} of?", "of the {v}|from {v}"),
        part("Reign|Years of reign|Ruled", v.text(span), "reign|years", "When did {e} rule?|When was {e} king?", "who ruled {v}|in power {v}"),
        part("Consort|Spouse|Queen", v.people(), "consort|wife|spouse", "Who was {e} married to?|Who married {e}?", "married to {v}|whose wife was {v}"),
        part("Burial place|Buried|Burial", v.pick(w.CITIES, 5), "burial place", "Where is {e} buried?|Where was {e} laid to rest?", "buried in {v}|laid to rest at {v}", 0.7),
        number("Born|Birth|Year of birth", v.years(1050, 1700, 30), "year of birth", "When was {e} born?", "born in {v}", "year"),
        number("Died|Death|Year of death", v.years(1090, 1760, 30), "year of death", "When did {e} die?", "who died in {v}", "year"),
        part("Cause of death|Fate", v.pick("Illness|Killed in battle|Old age|Murdered|Deposed|Drowned", 4), "cause of death|fate", "How did {e} die?", "who died of {v}|with {v} as the fate", 0.4),
    ),
    topic(
        "battles", "battle|engagement", "battles|engagements",
        key("Battle|Name|Engagement", v.text(lambda r: f"{r.choice(('Siege of', 'Battle of', 'Fall of', 'Raid on'))} {r.choice(w.CITIES)}"), "battle", "What was {e}?|Which fight was {e}?", "called {v}"),
        part("Date|Fought on", v.dates("dmy"), "date", "When was {e} fought?|When did {e} take place?", "on {v}|fought on {v}"),
        part("Commander|Commanders|General", v.people(5), "commander|general", "Who was in command at {e}?|Who led the troops at {e}?", "under {v}|commanded by {v}"),
        part("Result|Outcome|Victor", v.pick("Victory|Defeat|Inconclusive|Strategic retreat|Truce", 4), "outcome", "How did {e} end?|What was the outcome of {e}?", "that was a {v}|which ended in {v}"),
        number("Strength|Troops|Men", v.whole(300, 42000), "strength|number of men", "How many men were at {e}?|How many troops fought in {e}?", "with {v} men", "size"),
        number("Casualties|Losses|Killed", v.whole(5, 9000), "casualties|losses", "How many were lost at {e}?|How many people died in {e}?", "with {v} losses|that cost {v} men"),
        part("War|Campaign|Conflict", v.pick("War of the Three Rivers|Northern War|Salt Rebellion|Succession War", 3), "war|campaign", "What war was {e} part of?", "in the {v}|during the {v}", 0.6),
    ),
    topic(
        "schools", "school|institution", "schools|institutions",
        key("School|Institution|Name|College", v.text(v.school), "school|institution", "What school is {e}?|Which institution is {e}?", "called {v}|named {v}"),
        part("Location|City|Town|Location(s)", v.made(v.place, 7), "location|city", "Where is {e}?|Where is {e} located?|What city is {e} in?", "in {v}|located in {v}"),
        number("Founded|Established|Opened", v.years(1790, 1985, 12), "founding year|year founded", "When was {e} founded?|What year was {e} established?", "founded in {v}|that opened in {v}", "year", 0.9),
        part("Affiliation|Type|Control|Religious affiliation", v.pick("Public|Private|Private/Catholic|Private/Methodist|State integrated|Non-denominational", 4), "affiliation|type", "What is the affiliation of {e}?|What type of school is {e}?", "that is {v}|which are {v}"),
        number("Enrollment|Enrolment|Students|Roll", v.whole(120, 42000), "enrollment|number of students", "How many students does {e} have?|How many students go to {e}?", "with {v} students|that enrolls {v}", "size", 0.9),
        part("Nickname|Mascot|Team nickname", v.pick(w.MASCOTS, 9), "nickname|mascot", "What is the nickname of {e}?|What are the teams of {e} called?", "known as the {v}|nicknamed {v}"),
        part("Colors|School colors|Colours", v.pick("Blue & Gold|Maroon and White|Green|Black/Orange|Purple and Silver|Scarlet", 5), "colors", "What are the colors of {e}?", "whose colors are {v}|wearing {v}", 0.5),
        number("Joined|Year joined", v.years(1925, 2005, 6), "year of joining", "When did {e} join?|What year did {e} join?", "that joined in {v}", "year", 0.5),
        part("Current conference|Conference|Primary conference", v.pick("Great Plains|Coastal Ten|Tri-Rivers|Independent|Mid-Border", 4), "conference", "What conference is {e} in now?", "in the {v}|playing in {v}", 0.5),
    ),
    topic(
        "pageant", "contestant|delegate", "contestants|delegates",
        part("State|Country|Represents", v.text(lambda r: r.choice(w.STATES)), "state|place", "What state is {e} from?|Where does {e} come from?", "from {v}|representing {v}", 0.95),
        key("Contestant|Name|Delegate", v.people(), "contestant|name", "Who is {e}?|Who was {e}?", "named {v}"),
        number("Age|Age (years)", v.whole(17, 27), "age", "How old is {e}?|What is the age of {e}?", "aged {v}|who is {v} years old", "size"),
        part("Hometown|City|Home town", v.made(lambda r: r.choice(w.CITIES), 10), "hometown", "What is the hometown of {e}?|Where did {e} grow up?", "whose hometown is {v}|from {v}"),
        part("Height|Height (ft)|Height (cm)", v.pattern("5' 1\"", 0.2), "height", "How tall is {e}?", "who is {v} tall"),
        part("Talent|Interests|Sponsor", v.pick("Ballet en pointe|Classical piano|Vocal, \"Summer Road\"|Tap dance|Baton twirling|Irish step dance|Violin", 6), "talent", "What talent does {e} have?|What did {e} perform?", "who performed {v}|with {v} as the talent"),
        number("Interview|Evening gown|Preliminary average", v.decimal(7.2, 9.9, 3), "score|average", "How did {e} score?", "with {v}", "size", 0.6),
        part("Other awards|Placement|Award", v.pick("Miss Congeniality|Top 10|1st Runner-up|Winner|Quality of Life|None", 4), "award|placement", "What did {e} win?|How was {e} placed?", "who was {v}|who got {v}", 0.6),
    ),
    topic(
        "saints and holidays", "festival|holiday", "festivals|holidays",
        key("Festival|Holiday|Name|English name", v.text(lambda r: r.choice(("St. {f}'s Day", "{n} Festival", "{f}'s Eve", "Day of the {n}", "{a} {n} Week")).format(f=r.choice(w.FIRST), n=r.choice(w.NOUNS), a=r.choice(w.ADJECTIVES))), "festival|holiday", "What holiday is {e}?|What is {e} called?", "called {v}"),
        part("Local name|Native name|Burmese|In Welsh", v.text(lambda r: f"{r.choice(('Gŵyl', 'Fête', 'Dia de', 'Święto', 'Päivä'))} {r.choice(w.FIRST)}"), "local name", "What is the local name of {e}?|How is {e} said there?", "known there as {v}"),
        part("Date|Observed|Day", v.dates("md"), "date|day", "When is {e}?|On what day is {e}?", "on {v}|observed {v}", 0.95),
        part("Region|Where observed|Province", v.pick(w.COUNTIES, 5), "region", "Where is {e} held?|Where do people keep {e}?", "in {v}|held in {v}"),
        part("Remarks|Notes|Meaning", v.pick("Public holiday|Half day|Banks closed|Fireworks|Procession at dawn|Movable", 4), "remarks", "What is remarked about {e}?", "with the remark {v}|noted as {v}", 0.7),
        number("First held|Since|Introduced", v.years(1600, 1980, 20), "first year|start", "When was {e} first held?", "first held in {v}|since {v}", "year", 0.6),
        number("Visitors|Attendance (est.)", v.whole(300, 90000), "number of visitors", "How many people visit {e}?", "with {v} visitors", "size", 0.5),
    ),
)
