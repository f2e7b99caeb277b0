"""Names of people, places, clubs and things from which the corpus's cells are made."""

from __future__ import annotations


def words(text: str) -> tuple[str, ...]:
    """The entries of a `|`-separated text."""
    return tuple(part.strip() for part in text.replace("\n", " ").split("|"))


FIRST = words(
    "Adrian|Agnes|Aiko|Alma|Amir|Anders|Anneke|Arturo|Beatriz|Bram|Bridget|Callum|Carmen|Cedric|"
    "Chidi|Clara|Dagmar|Darius|Deirdre|Desmond|Dilnoza|Edda|Elif|Emeka|Esther|Fabio|Farah|Felix|"
    "Fiona|Gareth|Gerda|Goran|Greta|Hamish|Hanne|Hector|Hugo|Ida|Imogen|Ines|Ismail|Ivo|Jasper|"
    "Joaquín|Jolanta|Jürgen|Kaito|Katya|Kenji|Lars|Leïla|Lorna|Lucian|Magda|Maëlle|Marek|Mateus|"
    "Mirela|Moira|Nadia|Niamh|Nils|Nuria|Ødegard|Olga|Oskar|Padraig|Petra|Priya|Quentin|Ramona|"
    "René|Rosalind|Rupert|Sanna|Seán|Selma|Stellan|Svetlana|Tariq|Teresa|Tobias|Ulrike|Valentin|"
    "Vera|Viggo|Wanda|Wesley|Xavier|Yara|Yusuf|Zara|Zdeněk|Zoë"
)
LAST = words(
    "Abernathy|Achterberg|Aldous|Andersson|Araújo|Ashdown|Bakker|Balogun|Barzani|Bellweather|"
    "Bjørnstad|Blackwood|Brannigan|Calloway|Castellano|Chaudhry|Corrigan|D'Amato|D'Souza|Dąbrowski|"
    "Dvořák|Eastwick|Ekström|Fairbairn|Fernhill|Fitzgerald|Gallardo|Grünwald|Hallström|Harcourt|"
    "Hashimoto|Hernández|Holloway|Ibáñez|Ivanova|Jankowski|Jørgensen|Kavanagh|Kowalczyk|Laurent|"
    "Lindqvist|Lockhart|MacAllister|Marchetti|McCready|Mbeki|Mendonça|Moreau|Müller|N'Diaye|"
    "Nakagawa|Novotný|O'Connell|O'Hara|O'Leary|Okonkwo|Oyelaran|Pemberton|Petrov|Pinheiro|Quigley|"
    "Ramaswamy|Rasmussen|Reinholt|Rossetti|Sandoval|Schreiber|Sørensen|St. Clair|Stavros|Tanaka|"
    "Thackeray|Thornbury|Ueda|Van der Meer|Vasquez|Vossberg|Wainwright|Weatherby|Whitlock|"
    "Yamamoto|Young|Zieliński|Zuberi"
)
CITIES = words(
    "Aarhus|Aberdeen|Albany|Antwerp|Arequipa|Baton Rouge|Bergen|Bilbao|Boise|Bordeaux|Brno|"
    "Calgary|Cardiff|Cartagena|Cork|Dakar|Dayton|Dortmund|Dundee|Durban|Edmonton|El Paso|Fresno|"
    "Galway|Gdańsk|Geelong|Graz|Halifax|Hobart|Inverness|Izmir|Kaunas|Kraków|Kyoto|La Plata|"
    "Leeds|León|Liège|Linz|Lübeck|Lyon|Málaga|Malmö|Medellín|Memphis|Monterrey|Nagoya|Nantes|"
    "Newcastle|Norwich|Odense|Omaha|Oviedo|Padua|Perth|Pécs|Porto|Portland|Quebec City|Reno|Riga|"
    "Rosario|Rotterdam|Salzburg|Santa Fe|São Luís|Spokane|St. John's|Tampere|Tartu|Toledo|Toulouse|"
    "Trondheim|Tulsa|Turin|Utrecht|Valparaíso|Varna|Wellington|Windhoek|Zagreb|Zürich"
)
COUNTRIES = words(
    "Argentina|Australia|Austria|Belgium|Brazil|Bulgaria|Canada|Chile|Colombia|Côte d'Ivoire|"
    "Croatia|Czech Republic|Denmark|Egypt|England|Estonia|Finland|France|Germany|Ghana|Greece|"
    "Hungary|Iceland|India|Ireland|Italy|Jamaica|Japan|Kenya|Latvia|Mexico|Morocco|Netherlands|"
    "New Zealand|Nigeria|Norway|Peru|Poland|Portugal|Romania|Scotland|Senegal|Serbia|Slovenia|"
    "South Africa|South Korea|Spain|Sweden|Switzerland|Tunisia|Turkey|United States|Uruguay|Wales"
)
STATES = words(
    "Alabama|Arizona|Arkansas|Colorado|Georgia|Idaho|Illinois|Iowa|Kansas|Kentucky|Maine|Maryland|"
    "Michigan|Minnesota|Montana|Nebraska|Nevada|New Mexico|North Dakota|Ohio|Oklahoma|Oregon|"
    "Pennsylvania|South Carolina|Tennessee|Utah|Vermont|Virginia|Wisconsin|Wyoming"
)
COUNTIES = words(
    "Ashford County|Barrow County|Calder County|Dunmore County|Elkhorn County|Fenwick County|"
    "Glenrock County|Harlan County|Juniper County|King's County|Lachlan County|Marlow County|"
    "Northam County|Ottery County|Prince's County|Quarry County|Redbank County|Saltash County"
)
MASCOTS = words(
    "Falcons|Rovers|Harriers|Comets|Pilgrims|Mariners|Wolves|Lynx|Ironmen|Thunder|Stallions|"
    "Foresters|Kestrels|Pioneers|Royals|Otters|Blazers|Monarchs|Vikings|Buccaneers|Herons|Spartans"
)
CLUB_FORMS = words(
    "{c} United|{c} City|FC {c}|{c} Athletic|Real {c}|{c} Rovers|SK {c}|{c} Wanderers"
)
SCHOOL_FORMS = words(
    "{c} State|University of {c}|{c} Tech|Saint Mary's ({c})|{c} CC|{c} High School|North {c}|"
    "{c} A&M|St. Brendan's College|{c} College|King's College ({c})"
)
ADJECTIVES = words(
    "Silent|Broken|Golden|Last|Hidden|Crimson|Long|Lonely|Second|Distant|Paper|Winter|Burning|"
    "Hollow|Invisible|Quiet|Borrowed|Northern|Restless|Glass|Electric|Velvet|Forgotten|Blue|Wild|"
    "Little|Perfect|Bitter|Ordinary|Midnight"
)
NOUNS = words(
    "River|Harbour|Garden|Letter|Mirror|Road|Kingdom|Orchard|Lantern|Promise|Bridge|Summer|Shadow|"
    "Island|Clock|Daughter|Stranger|Train|Ocean|Window|Feather|Machine|Storm|Village|Witness|"
    "Painter|Hunter|Secret|Wedding|Fortune|Sparrow|Candle"
)
TITLE_FORMS = words(
    "The {a} {n}|{a} {n}|The {n}'s {m}|{n} of the {a} {m}|Don't {v} the {n}|A {n} for {f}|{v} Me|"
    "{f}'s {a} {n}|{n} & {m}|No {n}, No {m}|{v} Again|The {n} ({y})|How to {v} a {n}|"
    "{a} {n}, {a2} {m}|Who {v}s the {n}?|It's the {a} {n}|{n}|{a} {m}s"
)
VERBS = words("Remember|Follow|Burn|Paint|Leave|Carry|Forgive|Chase|Hide|Build|Trust|Break")
LABELS = words(
    "Bluebird Records|Northgate|Old Mill Music|Parallax|Kestrel|Sundial Records|Tin Roof|Harbour "
    "Sound|Meridian|Polar Star|Redwing|Salt & Smoke"
)
NETWORKS = words("Channel 8|NTV|Kanal 6|Crown TV|WKLR|Sky Nova|Premier|RTÉ Nua|Orbit 1|Canal Sur 3")
PARTIES = words(
    "Liberal|Conservative|Labour|Green|Agrarian|Progressive|Independent|Social Democrat|National|"
    "People's Party|Reform|Christian Democrat|Whig"
)
VENUES = words(
    "Memorial Stadium|Riverside Park|The Old Bakery Ground|Victoria Arena|Fairfield Oval|King's "
    "Meadow|Civic Coliseum|Harbour Dome|St. Andrew's Park|Estadio del Norte|Olympic Hall|Mill Lane|"
    "Hillcrest Arena|Parc des Ormes|Northern Bank Stadium|Queen's Drive"
)
MAKERS = words(
    "Aldermann|Borealis|Corvus|Dunmore|Eskil|Fairway|Galvani|Halberd|Ikaros|Jubilee|Kestrel|Lanza|"
    "Merlin|Norddeutsche|Orion|Pegaso|Rademacher|Sörenson|Tempest|Vulcan"
)
SHIPS = words(
    "Resolute|Endurance|Perseverance|Lady Agnes|Duke of Marlow|Northern Light|Princess Ingrid|"
    "Isle of Mora|Vigilant|King Olaf|Seafarer|Halcyon|Aurora|Queen Maud|Stormcock|Bold Venture|"
    "Saint Columba|Fearless|Providence|Wanderer|Triton|Albatross|Nordkapp|Caledonia|Gannet"
)
LANGUAGES = words(
    "Spanish|French|German|Portuguese|Welsh|Japanese|Korean|Polish|Swedish|Italian|Dutch|Turkish|"
    "Greek|Catalan|Finnish|Arabic"
)
SPECIES = words(
    "river otter|grey heron|pine marten|fire salamander|marsh orchid|red kite|stone curlew|"
    "mountain hare|great newt|sand lizard|dwarf birch|lesser celandine|ringed seal|snow vole|"
    "black stork|wood lark|tree frog|bog myrtle|field cricket|brown trout|sea holly|dune tiger"
)
LATIN = words(
    "Borealis|Palustris|Montana|Fluviatilis|Sylvestris|Vulgaris|Alpina|Maritima|Arvensis|Orientalis"
)
GENERA = words(
    "Lutra|Ardea|Martes|Salvia|Orchis|Milvus|Burhinus|Lepus|Triturus|Lacerta|Betula|Phoca"
)
