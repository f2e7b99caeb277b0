"""Topics of the corpus: sport. See `columns.py` for the meaning of every field."""

# One column a line reads best as a table, however long the line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from harness.data.mini import values as v
from harness.data.mini import words as w
from harness.data.mini.columns import key, number, part, topic

OPPONENT = part(
    "Opponent|Opponents|Opponent team|Visitor", v.made(v.team, 8), "opposing team|opponent",
    "Who was the opponent in {e}?|Who did they play in {e}?|Which team did they face in {e}?",
    "against {v}|with {v} as the opponent|played against {v}", 1.0,
)
DATE = part(
    "Date|Game date|Date played", v.dates(), "date|day",
    "When was {e}?|On what date was {e} played?|What day was {e} on?",
    "on {v}|played on {v}|dated {v}", 0.9,
)
CROWD = number(
    "Attendance|Crowd|Attendance (total)", v.whole(1200, 64000), "crowd|attendance|number of fans",
    "How many people attended {e}?|How large was the crowd at {e}?",
    "with {v} people in attendance|that {v} people attended", "size",
)
VENUE = part(
    "Venue|Ground|Stadium|Location|Site", v.pick(w.VENUES, 6), "venue|location|place",
    "Where was {e} held?|Where did {e} take place?|At which ground was {e}?",
    "at {v}|held at {v}|that took place at {v}",
)

TOPICS = (
    topic(
        "games", "game|match", "games|matches",
        number("Game|Game #|Week|#", v.serial(1, 12), "game number|week", "", "number {v}|in week {v}", "rank"),
        DATE, OPPONENT,
        part("Result|Score|Final score", v.scores(60, 128, "W |L |"), "final score|result|outcome",
             "What was the score of {e}?|How did {e} end?", "that ended {v}|with a final of {v}", 0.9),
        part("Record|Team record|W-L", v.record(), "record|win-loss record", "", "that made the record {v}|when the record stood at {v}"),
        part("High points|Leading scorer", v.people(6), "top scorer|player with the most points",
             "Who scored the most points in {e}?|Who was the leading scorer in {e}?", "in which {v} led the scoring"),
        VENUE, CROWD,
        part("Streak", v.pattern("W 1", 0.4), "streak", "", "", 0.4),
    ),
    topic(
        "roster", "player", "players",
        key("Player|Name|Player name", v.people(), "player|name", "Who is {e}?|Who was {e}?|Which player is {e}?", "named {v}"),
        part("No.|No.(s)|Jersey #", v.pattern("1#", 0.2), "number|jersey number|shirt number",
             "What number does {e} wear?|What number did {e} wear?", "who wears number {v}|wearing {v}"),
        part("Position|Pos.|Pos", v.pick("Guard|Forward|Center|Guard-Forward|Forward/Center|Point guard", 5), "position",
             "What position does {e} play?|Where does {e} play on the court?", "who plays {v}|at the {v} position"),
        part("School/Club Team|School/club team|College|College/Country", v.made(v.school, 9), "school|club|college",
             "Where did {e} go to school?|Which school did {e} come from?", "from {v}|who went to {v}|who attended {v}"),
        part("Nationality|Country|Nat.", v.pick(w.COUNTRIES, 6), "nationality|country|home country",
             "What country is {e} from?|Where is {e} from?", "from {v}|whose country is {v}"),
        part("Years with club|Years for team|Seasons|Tenure", v.text(lambda r: (lambda y: f"{y}–{str(y + r.between(1, 6))[2:]}")(r.between(1988, 2008)), 0.2), "years|time with the club",
             "When did {e} play for the club?|What years did {e} play?", "who played in {v}|active during {v}"),
        part("Height|Height (ft)|Height in Ft.", v.pattern("6-1", 0.3), "height", "How tall is {e}?|What height is {e}?", "who is {v} tall|standing {v}"),
        number("Weight (lb)|Weight|Weight (kg)", v.whole(78, 260), "weight", "How heavy is {e}?|How much does {e} weigh?", "weighing {v}", "size", 0.5),
    ),
    topic(
        "draft", "player|pick", "players|picks",
        number("Round|Rd.|Rnd", v.skewed(9), "draft round|round", "In which round was {e} taken?", "taken in round {v}", "rank"),
        number("Pick|Pick #|Overall|Overall pick", v.serial(1, 200), "pick|pick number|overall selection", "", "picked number {v}|with pick {v}", "rank", 1.0),
        key("Player|Name|Player name", v.people(), "player", "Who was {e}?|What player was {e}?", "named {v}"),
        part("Position|Pos.", v.pick("Quarterback|Linebacker|Defensive tackle|Wide receiver|Safety|Running back|Kicker", 6), "position",
             "What position did {e} play?", "who played {v}|listed as {v}"),
        part("NHL team|Team|Drafted by|CFL Team", v.made(v.team, 8), "team|club", "Which team picked {e}?|Who drafted {e}?", "drafted by {v}|that {v} picked"),
        part("College/junior/club team|College|School", v.made(v.school, 8), "school|college", "Where did {e} play in college?|What college did {e} attend?", "from {v}|who attended {v}"),
        part("Nationality|Hometown", v.pick(w.COUNTRIES, 5), "nationality|home", "Where is {e} from?", "from {v}", 0.5),
    ),
    topic(
        "standings", "team|club", "teams|clubs",
        number("Position|Pos|Pos.|Place", v.serial(1, 1), "place|rank|position", "Where did {e} finish?", "in place {v}|that finished {v}", "rank"),
        key("Team|Club|Team name", v.text(v.club), "team|club|side", "Which team is {e}?|Who was {e}?", "named {v}"),
        number("Played|P|Games played|Matches", v.whole(24, 30), "number of games|games played", "How many games did {e} play?", "with {v} games played|that played {v} matches", keep=0.7),
        number("Wins|Won|W", v.skewed(24), "number of wins|victories|games won", "How many games did {e} win?|How often did {e} win?", "with {v} wins|that won {v} times"),
        number("Draws|Drawn|D|Ties", v.skewed(12), "number of draws|ties", "How many times did {e} draw?", "with {v} draws|that drew {v} matches"),
        number("Losses|Lost|L|Defeats", v.skewed(22), "number of losses|defeats", "How many games did {e} lose?", "with {v} losses|that lost {v} games"),
        number("Goals for|GF|Points for|Goals scored", v.whole(18, 92), "goals scored", "How many goals did {e} score?", "that scored {v} goals", keep=0.6),
        number("Goals against|GA|Points against|Against", v.whole(18, 80), "goals conceded|points against", "How many goals did {e} concede?", "that conceded {v}", keep=0.6),
        part("Goal difference|Diff|Goal Difference", v.text(lambda r: f"{r.choice('+−')}{r.between(0, 40)}", 0.1), "goal difference", "", "with a difference of {v}", 0.5),
        number("Points|Pts|Points 1", v.whole(12, 70), "points|point total", "How many points did {e} get?|How many points does {e} have?", "on {v} points|with {v} points", keep=0.9),
    ),
    topic(
        "driver results", "driver", "drivers",
        part("Pos|Pos.|Fin. Pos|Position", v.text(lambda r: str(r.between(1, 24)) if r.chance(0.85) else "Ret", 0.1), "position|finish", "Where did {e} finish?", "who finished {v}|in position {v}"),
        part("No|No.|Car #|Car No.", v.pattern("1#", 0.05), "car number|number", "What number was {e}'s car?", "in car {v}|driving number {v}"),
        key("Driver|Name|Rider", v.people(), "driver|racer", "Who was {e}?|Who drove for {e}?", "named {v}"),
        part("Team|Entrant|Manufacturer|Make|Constructor", v.pick([f"{m} Racing" if i % 2 else m for i, m in enumerate(w.MAKERS)], 6), "team|car maker", "Who did {e} drive for?|What team was {e} on?", "who drove for {v}|from the {v} team"),
        number("Laps|Laps led|Laps completed", v.whole(3, 70), "number of laps|laps", "How many laps did {e} complete?|How many laps did {e} drive?", "who completed {v} laps|with {v} laps"),
        number("Grid|Qual|Start|Grid position", v.whole(1, 24), "grid position|starting place", "Where did {e} start?|What was {e}'s grid?", "who started from {v}|on grid {v}", "rank"),
        part("Time/Retired|Time/Retire|Time", v.pick("Engine|Gearbox|+1 lap|Collision|+12.6|+1:04.2|Suspension|Accident|Transmission|+2 laps|Brakes", 8), "time or reason for stopping|time", "Why did {e} retire?|What was {e}'s time?", "who stopped because of {v}|with a time of {v}"),
        number("Points|Pts|Pts.", v.skewed(25), "points", "How many points did {e} earn?", "who got {v} points"),
        part("Winnings|Winnings (US$)|Prize money", v.grouped(1200, 90000, "$"), "prize money|winnings", "How much money did {e} win?", "who won {v}|earning {v}", 0.4),
    ),
    topic(
        "race calendar", "race|grand prix", "races",
        number("Round|Rnd|Rd.|Race No.", v.serial(1, 3), "round|round number", "", "in round {v}|number {v}", "rank"),
        key("Race|Race name|Grand Prix|Race Title", v.text(lambda r: r.choice(("{} Grand Prix", "{} 200", "Grote Prijs van {}", "Tour of {}", "{} Classic", "{} Hill Climb")).format(r.choice(w.CITIES))), "race|event", "What was {e}?|Which race was {e}?", "called {v}|named {v}"),
        part("Circuit|Track|Circuit/Location", v.made(lambda r: f"{r.choice(w.CITIES)} {r.choice(('Ring', 'Speedway', 'Park', 'Street Circuit', 'Motordrome'))}", 8), "circuit|track", "What track was {e} run on?|Where was {e} run?", "at {v}|run at {v}|on the {v} track"),
        part("Date|Race date", v.dates(), "date|day", "When was {e}?|What was the date of {e}?", "on {v}|held {v}"),
        part("Pole position|Pole|Pole Position", v.people(5), "driver on pole|pole sitter", "Who was on pole for {e}?|Who had the pole at {e}?", "with {v} on pole|where {v} took the pole"),
        part("Fastest lap|Fastest Lap", v.people(5), "driver with the fastest lap", "Who had the fastest lap in {e}?|Who drove the fastest lap at {e}?", "with the fastest lap by {v}"),
        part("Winning driver|Winner|Race winner|Winning Driver", v.people(5), "winner|winning driver", "Who won {e}?|Who was the winner of {e}?", "won by {v}|that {v} won", 0.95),
        part("Winning team|Winning constructor|Constructor|Winning make", v.pick(w.MAKERS, 5), "winning team|winning car", "Which team won {e}?|What car won {e}?", "won by {v}|won in a {v}"),
        part("Report|Coverage", v.pick("Report|Live|Highlights|None", 3), "report", "", "", 0.3),
    ),
    topic(
        "golf", "golfer|player", "golfers|players",
        part("Place|Finish|Pos.", v.pick("1|T2|T4|6|T7|T9|12|T13|3|T10", 8), "place|finish", "What place did {e} come in?|Where did {e} finish?", "in place {v}|who finished {v}"),
        key("Player|Golfer", v.people(), "player|golfer", "Who is {e}?|Which golfer was {e}?", "named {v}"),
        part("Country|Nation", v.pick(w.COUNTRIES, 5), "country|nation", "What country is {e} from?|Who does {e} play for?", "from {v}|playing for {v}"),
        part("Score|Rounds", v.text(lambda r: (lambda a: f"{'-'.join(map(str, a))}={sum(a)}")([r.between(66, 76) for _ in range(r.between(2, 4))])), "score", "What did {e} shoot?|What was {e}'s score?", "with a score of {v}|who shot {v}"),
        part("To par|To Par|Par", v.text(lambda r: r.choice(("E", f"+{r.between(1, 9)}", f"–{r.between(1, 9)}")), 0.3), "score to par", "How far from par was {e}?", "at {v} to par|who was {v}"),
        number("Total|Score total", v.whole(270, 296), "total|final total", "What did {e} total?", "who totalled {v}", "size", 0.5),
        part("Money ($)|Earnings ($)|Money ( $ )", v.grouped(4000, 400000), "money|prize", "How much did {e} earn?|How much money went to {e}?", "who earned {v}", 0.6),
    ),
    topic(
        "tennis", "final|match", "finals|matches",
        part("Outcome|Result", v.pick("Winner|Runner-up|Semifinal", 3), "outcome|result", "What was the outcome of {e}?|How did {e} turn out?", "that was a {v}|with {v} as the outcome"),
        part("Date|Year played", v.dates(), "date", "When was {e}?|What date was {e}?", "on {v}"),
        key("Tournament|Championship|Event", v.text(lambda r: r.choice(("{} Open", "{} Indoor", "{} Masters", "Open de {}", "{} Ladies' Cup")).format(r.choice(w.CITIES))), "tournament|championship", "What tournament was {e}?|Where was {e}?", "at the {v}|of the {v}"),
        part("Surface|Court surface", v.pick("Clay|Hard|Grass|Carpet (i)|Hard (i)", 4), "surface|type of court", "What surface was {e} played on?|What was the court of {e}?", "on {v}|played on {v}", 0.95),
        part("Partner|Doubles partner", v.people(5), "partner", "Who was the partner in {e}?|Who did she play with in {e}?", "with {v} as partner|partnered by {v}", 0.5),
        part("Opponent|Opponent in the final|Opponents in the final", v.people(8), "opponent", "Who was the opponent in {e}?|Who was played in {e}?", "against {v}"),
        part("Score|Score in the final", v.text(lambda r: ", ".join(r.choice(("6–4", "6–3", "7–5", "4–6", "6–1", "7–6(4)", "2–6")) for _ in range(r.between(2, 3)))), "score", "What was the score of {e}?|How did {e} end?", "that ended {v}|with the score {v}", 0.95),
    ),
    topic(
        "medals", "nation|country", "nations|countries",
        number("Rank|Rank by total|Place", v.serial(1, 1), "rank|place", "What rank is {e}?", "ranked {v}|in rank {v}", "rank"),
        key("Nation|Country|NOC|Delegation", v.text(lambda r: r.choice(w.COUNTRIES)), "nation|country", "Which country is {e}?|What nation is {e}?", "called {v}"),
        number("Gold|Gold medals", v.skewed(24), "gold medals|number of golds", "How many golds did {e} win?|How many gold medals does {e} have?", "with {v} gold|that won {v} golds", keep=1.0),
        number("Silver|Silver medals", v.skewed(20), "silver medals|silvers", "How many silver medals did {e} win?", "with {v} silver|that took {v} silvers", keep=1.0),
        number("Bronze|Bronze medals", v.skewed(22), "bronze medals|bronzes", "How many bronze medals went to {e}?", "with {v} bronze|that had {v} bronzes", keep=1.0),
        number("Total|Total medals|Medals", v.whole(1, 60), "medal total|number of medals", "How many medals did {e} get?", "with {v} medals in all|with {v} in total"),
        number("Athletes|Participants|No. of athletes", v.whole(4, 320), "athletes|number of participants", "How many athletes did {e} send?", "that sent {v} athletes", keep=0.4),
    ),
    topic(
        "swimming heats", "swimmer|athlete", "swimmers|athletes",
        number("Lane|Lane no.", v.whole(1, 8), "lane", "What lane was {e} in?|Which lane did {e} have?", "in lane {v}", "rank", 1.0),
        number("Heat|Heat rank", v.whole(1, 5), "heat", "Which heat was {e} in?", "in heat {v}", "rank", 0.6),
        key("Name|Athlete|Swimmer", v.people(), "name|athlete", "Who is {e}?|Who swam as {e}?", "named {v}"),
        part("Nationality|Country", v.pick(w.COUNTRIES, 7), "nationality|country", "What country is {e} from?|Who does {e} swim for?", "from {v}|representing {v}"),
        number("Time|Time (s)|Mark", v.decimal(49.5, 58.9, 2), "time", "What was {e}'s time?|How fast was {e}?", "with a time of {v}|who clocked {v}", "size"),
        number("Rank|Overall rank", v.serial(1, 1), "rank|place", "What did {e} rank?|Where did {e} place?", "ranked {v}", "rank"),
        number("Reaction time|Reaction|React", v.decimal(0.58, 0.86, 3), "reaction time", "How quickly did {e} react?", "with a reaction of {v}", "size", 0.4),
        part("Notes|Note|Qual.", v.pick("Q|q|NR|DSQ|WR|SB", 4), "note", "What is noted for {e}?", "marked {v}", 0.4),
    ),
    topic(
        "fights", "fight|bout", "fights|bouts",
        part("Res.|Result|Res", v.pick("Win|Loss|Draw|NC", 3), "result|outcome", "How did {e} go?|What was the result of {e}?", "that was a {v}|ending as a {v}"),
        part("Record", v.text(lambda r: f"{r.between(0, 28)}-{r.between(0, 9)}", 0.0), "record", "", "when the record was {v}|that made it {v}"),
        key("Opponent|Opponent name", v.people(), "opponent|other fighter", "Who was the opponent in {e}?|Who was fought in {e}?", "against {v}|with {v}"),
        part("Method|Method of victory|Decision", v.pick("TKO (punches)|Decision (unanimous)|Submission (armbar)|KO|Decision (split)|Submission (guillotine choke)|TKO (doctor stoppage)", 5), "method", "How was {e} decided?|What method ended {e}?", "by {v}|ended by {v}|decided by {v}"),
        part("Event|Card", v.text(lambda r: f"{r.choice(('Iron Cage', 'Battle of', 'Fight Night', 'Rumble in'))} {r.choice(w.CITIES)} {r.between(1, 40)}", 0.05), "event", "What event was {e} at?|Where did {e} take place?", "at {v}"),
        number("Round|Rounds|Rd.", v.whole(1, 5), "round", "In which round did {e} end?|How long did {e} last?", "that ended in round {v}|that went {v} rounds", "count"),
        part("Time|Clock", v.clock(20, 300), "time", "When did {e} stop?|At what time did {e} end?", "at {v}|stopped at {v}"),
        part("Location|Place", v.made(v.place, 6), "location|place", "Where was {e}?|Where was {e} held?", "in {v}"),
    ),
)
