//! Queries made of bytes, each written together with what must be true of it: which masked columns reach which column of
//! the result. The writer knows it from how it puts a query together, not from reading one.

use std::collections::BTreeSet;

/// Masked columns, as `schema.table.column`.
pub(super) type Masked = BTreeSet<&'static str>;

/// A column of a row source: its name, and the masked columns whose values it carries.
pub(super) type Column = (String, Masked);

/// Relations that queries read. The names of masked columns stand behind the columns that show them.
const RELATIONS: [(&str, &[(&str, &str)]); 6] = [
    ("orders", &[("id", ""), ("user_id", ""), ("note", "")]),
    (
        "users",
        &[("id", ""), ("name", ""), ("email", "public.users.email"), ("ssn", "public.users.ssn")],
    ),
    ("people", &[("id", ""), ("mail", "public.users.email")]),
    ("loud", &[("mail", "public.users.email"), ("upper_mail", "public.users.email")]),
    ("events", &[("id", ""), ("secret", "public.events.secret")]),
    ("events_2024", &[("id", ""), ("secret", "public.events_2024.secret")]),
];

/// Deepest nesting, and most parts of a query: far below what the analysis takes.
const MAX_DEPTH: usize = 5;
const MAX_PARTS: usize = 120;

/// Bytes read as choices. When they are used up every choice is the first, which ends things.
pub(super) struct Choices<'a>(pub(super) &'a [u8]);

impl Choices<'_> {
    /// A number below `count`.
    pub(super) fn of(&mut self, count: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % count.max(1)
    }
}

struct Source {
    alias: String,
    columns: Vec<Column>,
}

/// What names mean in one query.
#[derive(Default)]
struct Level {
    sources: Vec<Source>,
    /// What `*` stands for.
    star: Vec<Column>,
}

/// Writes queries.
pub(super) struct Writer<'a> {
    pub(super) choices: Choices<'a>,
    levels: Vec<Level>,
    ctes: Vec<(String, Vec<Column>)>,
    parts: usize,
}

fn union(left: &Masked, right: &Masked) -> Masked {
    left.union(right).copied().collect()
}

fn all(columns: &[Column]) -> Masked {
    columns.iter().flat_map(|(_, masked)| masked.iter().copied()).collect()
}

/// The columns of a relation.
pub(super) fn relation(name: &str) -> Vec<Column> {
    let found = RELATIONS.iter().find(|(known, _)| *known == name);
    let column = |(name, masked): &(&'static str, &'static str)| {
        ((*name).to_owned(), Masked::from_iter(Some(*masked).filter(|masked| !masked.is_empty())))
    };
    found.map(|(_, columns)| columns.iter().map(column).collect()).unwrap_or_default()
}

impl<'a> Writer<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self { choices: Choices(data), levels: Vec::new(), ctes: Vec::new(), parts: 0 }
    }

    /// Whether nothing more may be put inside.
    fn full(&mut self) -> bool {
        self.parts += 1;
        self.levels.len() > MAX_DEPTH || self.parts > MAX_PARTS || self.choices.0.is_empty()
    }

    /// A query of so many columns, or of as many as it likes.
    pub(super) fn query(&mut self, width: Option<usize>) -> (String, Vec<Column>) {
        let known = self.ctes.len();
        self.levels.push(Level::default());
        let with = if self.full() || self.choices.of(4) != 3 { String::new() } else { self.with() };
        let (mut text, mut columns) = self.select(width);
        if !self.full() && self.choices.of(5) == 4 {
            let operator = ["UNION ALL", "UNION", "INTERSECT", "EXCEPT"];
            let operator = operator.get(self.choices.of(4)).copied().unwrap_or("UNION");
            if let Some(level) = self.levels.last_mut() {
                *level = Level::default();
            }
            let (right, more) = self.select(Some(columns.len()));
            text = format!("({text}) {operator} ({right})");
            if operator != "EXCEPT" {
                for ((_, held), (_, other)) in columns.iter_mut().zip(&more) {
                    *held = union(held, other);
                }
            }
        }
        self.levels.pop();
        self.ctes.truncate(known);
        (with + &text, columns)
    }

    fn with(&mut self) -> String {
        let name = ["c0", "orders", "users", "c1"].get(self.choices.of(4)).copied().unwrap_or("c0");
        let (text, mut columns) = match self.choices.of(4) {
            3 => {
                let (returned, columns) = self.returning("users");
                (format!("UPDATE users SET name = 'x' RETURNING {returned}"), columns)
            }
            _ => self.query(None),
        };
        let renamed = self.choices.of(2) == 1;
        let list = if renamed { rename(&mut columns, "k") } else { String::new() };
        let how = ["", "MATERIALIZED ", "NOT MATERIALIZED "];
        let how = how.get(self.choices.of(3)).copied().unwrap_or_default();
        self.ctes.push((name.to_owned(), columns));
        format!("WITH {name}{list} AS {how}({text}) ")
    }

    /// A RETURNING list of a write to a relation.
    pub(super) fn returning(&mut self, table: &str) -> (String, Vec<Column>) {
        let columns = relation(table);
        let source = Source { alias: table.to_owned(), columns: columns.clone() };
        self.levels.push(Level { sources: vec![source], star: columns });
        let list = self.targets(None);
        self.levels.pop();
        list
    }

    fn select(&mut self, width: Option<usize>) -> (String, Vec<Column>) {
        let mut items = Vec::new();
        for _ in 0..=self.choices.of(2) {
            let (item, star) = self.row_source();
            items.push(item);
            if let Some(level) = self.levels.last_mut() {
                level.star.extend(star);
            }
        }
        let (list, columns) = self.targets(width);
        let tail = match self.choices.of(8) {
            1 => " ORDER BY 1 LIMIT 3".to_owned(),
            2 => format!(" WHERE {} IS NOT NULL", self.expression().0),
            3 => format!(" WHERE ({})::text = 'x'", self.expression().0),
            4 => format!(" GROUP BY {} HAVING true", self.expression().0),
            _ => String::new(),
        };
        let distinct = if self.choices.of(6) == 5 { "DISTINCT " } else { "" };
        (format!("SELECT {distinct}{list} FROM {}{tail}", items.join(", ")), columns)
    }

    /// A target list.
    fn targets(&mut self, width: Option<usize>) -> (String, Vec<Column>) {
        let (mut texts, mut columns) = (Vec::new(), Vec::new());
        let count = width.unwrap_or_else(|| 1 + self.choices.of(3));
        while columns.len() < count {
            let star = self.levels.last().map(|level| level.star.clone()).unwrap_or_default();
            if width.is_none() && !star.is_empty() && self.choices.of(5) == 4 {
                texts.push("*".to_owned());
                columns.extend(star);
                continue;
            }
            if width.is_none()
                && self.choices.of(6) == 5
                && let Some((alias, own)) = self.source()
            {
                texts.push(format!("{alias}.*"));
                columns.extend(own);
                continue;
            }
            let (text, masked) = self.expression();
            let name = format!("o{}", columns.len());
            texts.push(format!("{text} AS {name}"));
            columns.push((name, masked));
        }
        (texts.join(", "), columns)
    }

    /// A row source of the innermost query.
    fn source(&mut self) -> Option<(String, Vec<Column>)> {
        let count = self.levels.last()?.sources.len();
        let place = self.choices.of(count);
        let source = self.levels.last()?.sources.get(place)?;
        Some((source.alias.clone(), source.columns.clone()))
    }

    fn new_alias(&self) -> String {
        format!("t{}", self.levels.last().map_or(0, |level| level.sources.len()))
    }

    fn enter(&mut self, alias: String, columns: Vec<Column>) {
        if let Some(level) = self.levels.last_mut() {
            level.sources.push(Source { alias, columns });
        }
    }

    /// A FROM item, and what it adds to `*`.
    fn row_source(&mut self) -> (String, Vec<Column>) {
        let choice = if self.full() { self.choices.of(3) } else { self.choices.of(12) };
        match choice {
            3 | 4 => self.sub_query(choice == 4),
            5 => self.join(),
            6 => self.function(),
            7 => {
                let (first, masked) = self.alone(Self::expression);
                let alias = self.new_alias();
                let columns = vec![("v".to_owned(), masked)];
                self.enter(alias.clone(), columns.clone());
                (format!("(VALUES ({first}), (NULL)) AS {alias}(v)"), columns)
            }
            8 if !self.ctes.is_empty() => {
                let place = self.choices.of(self.ctes.len());
                // A later one of the same name hides an earlier one.
                let name = self.ctes.get(place).map(|(name, _)| name.clone()).unwrap_or_default();
                self.named(&name, "")
            }
            _ => {
                let (name, _) =
                    RELATIONS.get(self.choices.of(RELATIONS.len())).copied().unwrap_or_default();
                let schema = if self.choices.of(2) == 1 { "public." } else { "" };
                self.named(name, schema)
            }
        }
    }

    fn named(&mut self, name: &str, schema: &str) -> (String, Vec<Column>) {
        let cte = self.ctes.iter().rev().find(|(held, _)| held == name && schema.is_empty());
        let mut columns = cte.map_or_else(|| relation(name), |(_, columns)| columns.clone());
        let alias = self.new_alias();
        let list = if self.choices.of(5) == 4 { rename(&mut columns, "r") } else { String::new() };
        self.enter(alias.clone(), columns.clone());
        (format!("{schema}{name} AS {alias}{list}"), columns)
    }

    /// Writes something that does not see the row sources beside it.
    fn alone<T>(&mut self, write: impl FnOnce(&mut Self) -> T) -> T {
        let held = self.levels.last_mut().map(std::mem::take).unwrap_or_default();
        let written = write(self);
        if let Some(level) = self.levels.last_mut() {
            *level = held;
        }
        written
    }

    fn sub_query(&mut self, lateral: bool) -> (String, Vec<Column>) {
        let (text, mut columns) =
            if lateral { self.query(None) } else { self.alone(|this| this.query(None)) };
        let alias = self.new_alias();
        let list = if self.choices.of(3) == 2 { rename(&mut columns, "s") } else { String::new() };
        self.enter(alias.clone(), columns.clone());
        let word = if lateral { "LATERAL " } else { "" };
        (format!("{word}({text}) AS {alias}{list}"), columns)
    }

    fn join(&mut self) -> (String, Vec<Column>) {
        let first = self.levels.last().map_or(0, |level| level.sources.len());
        let (left, left_columns) = self.row_source();
        let (right, right_columns) = self.row_source();
        let once =
            |columns: &[Column]| columns.iter().filter(|(name, _)| name == "id").count() == 1;
        let shared = once(&left_columns) && once(&right_columns) && self.choices.of(2) == 1;
        let mut star = Vec::new();
        if shared {
            star.extend(left_columns.iter().filter(|(name, _)| name == "id").cloned());
        }
        for (name, masked) in left_columns.into_iter().chain(right_columns) {
            if !shared || name != "id" {
                star.push((name, masked));
            }
        }
        let condition = if shared { "USING (id)" } else { "ON true" };
        let text = format!("({left} LEFT JOIN {right} {condition})");
        if self.choices.of(4) != 3 {
            return (text, star);
        }
        if let Some(level) = self.levels.last_mut() {
            level.sources.truncate(first);
        }
        let alias = self.new_alias();
        self.enter(alias.clone(), star.clone());
        (format!("{text} AS {alias}"), star)
    }

    /// A function in FROM. It sees the row sources before it.
    fn function(&mut self) -> (String, Vec<Column>) {
        let (text, masked) = self.expression();
        let alias = self.new_alias();
        let one = |name: &str| vec![(name.to_owned(), masked.clone())];
        let two = |a: &str, b: &str| [one(a), one(b)].concat();
        let (call, columns) = match self.choices.of(7) {
            0 => (format!("unnest(ARRAY[{text}]) AS {alias}(u)"), one("u")),
            1 => (format!("json_each_text({text}) AS {alias}"), two("key", "value")),
            2 => (format!("jsonb_to_recordset({text}) AS {alias}(x text, y int)"), two("x", "y")),
            3 => (
                format!("ROWS FROM (unnest(ARRAY[{text}]), upper('x')) AS {alias}(a, b)"),
                [one("a"), vec![("b".to_owned(), Masked::new())]].concat(),
            ),
            4 => (
                format!("regexp_split_to_table({text}, 'x') WITH ORDINALITY AS {alias}(p, n)"),
                [one("p"), vec![("n".to_owned(), Masked::new())]].concat(),
            ),
            5 => (
                format!("XMLTABLE('/x' PASSING {text} COLUMNS a text PATH '.', b int) AS {alias}"),
                two("a", "b"),
            ),
            _ => (
                format!("JSON_TABLE({text}, '$' COLUMNS (a text PATH '$', b int)) AS {alias}"),
                two("a", "b"),
            ),
        };
        self.enter(alias, columns.clone());
        (call, columns)
    }

    /// A column that can be named here: qualified, or by its name alone where that is clear.
    fn column(&mut self) -> (String, Masked) {
        let mut choices: Vec<(String, Masked)> = Vec::new();
        let mut hidden: Vec<&str> = Vec::new();
        let mut named: Vec<&str> = Vec::new();
        for level in self.levels.iter().rev() {
            for source in level.sources.iter().filter(|source| !hidden.contains(&&*source.alias)) {
                for (name, masked) in &source.columns {
                    let same = |(held, _): &&Column| held == name;
                    if source.columns.iter().filter(same).count() == 1 {
                        choices.push((format!("{}.{name}", source.alias), masked.clone()));
                        let here = level.sources.iter().flat_map(|source| &source.columns);
                        if here.filter(same).count() == 1 && !named.contains(&&**name) {
                            choices.push((name.clone(), masked.clone()));
                        }
                    }
                }
            }
            hidden.extend(level.sources.iter().map(|source| &*source.alias));
            let here = level.sources.iter().flat_map(|source| &source.columns);
            named.extend(here.map(|(name, _)| &**name));
        }
        let place = self.choices.of(choices.len());
        choices.into_iter().nth(place).unwrap_or_else(|| ("NULL".to_owned(), Masked::new()))
    }

    /// An expression, and the masked columns of whose values it may tell.
    pub(super) fn expression(&mut self) -> (String, Masked) {
        if self.full() {
            return self.column();
        }
        match self.choices.of(24) {
            0..6 => self.column(),
            6 => ("'constant'".to_owned(), Masked::new()),
            7 => {
                let forms = ["(({}) IS NULL)", "count({})", "pg_typeof({})"];
                (self.around(&forms).0, Masked::new())
            }
            8..13 => self.around(&WRAPPERS),
            13 => {
                let ((a, masked), (b, more)) = (self.expression(), self.expression());
                let text = PAIRS.get(self.choices.of(PAIRS.len())).copied().unwrap_or("{} || []");
                (text.replace("{}", &a).replace("[]", &b), union(&masked, &more))
            }
            14 => {
                let ((a, one), (b, two), (c, three)) =
                    (self.expression(), self.expression(), self.expression());
                let text = format!("CASE WHEN ({a})::bool THEN {b} ELSE {c} END");
                (text, union(&one, &union(&two, &three)))
            }
            15..18 => {
                let (text, columns) = self.query(Some(1));
                let form = ["({})", "ARRAY({})", "((SELECT q FROM ({}) q))", "('x' IN ({}))"];
                let form = form.get(self.choices.of(4)).copied().unwrap_or("({})");
                (form.replace("{}", &text), all(&columns))
            }
            18 => {
                let (text, _) = self.query(None);
                (format!("EXISTS ({text})"), Masked::new())
            }
            _ => match self.source() {
                Some((alias, columns)) => {
                    let form = WHOLE.get(self.choices.of(WHOLE.len())).copied();
                    (form.unwrap_or("{}").replace("{}", &alias), all(&columns))
                }
                None => self.column(),
            },
        }
    }

    fn around(&mut self, forms: &[&str]) -> (String, Masked) {
        let (text, masked) = self.expression();
        let form = forms.get(self.choices.of(forms.len())).copied().unwrap_or("({})");
        (form.replace("{}", &text), masked)
    }
}

/// Forms around one value that tell of it. Each is whole by itself, whatever stands beside it.
const WRAPPERS: [&str; 40] = [
    "({})",
    "upper({})",
    "({})::text",
    "CAST({} AS varchar(9))",
    "(({}) COLLATE \"C\")",
    "coalesce({}, 'x')",
    "nullif({}, 'x')",
    "greatest({}, 'x')",
    "ARRAY[{}, 'x']",
    "ROW(1, {})",
    "(ARRAY[{}])[1]",
    "(ROW({})).f1",
    "max({})",
    "string_agg({}, ',')",
    "array_agg({} ORDER BY 1)",
    "first_value({}) OVER (ORDER BY 1)",
    "lag({}, 1) OVER ()",
    "max({}) FILTER (WHERE true)",
    "percentile_disc(0.5) WITHIN GROUP (ORDER BY {})",
    "mode() WITHIN GROUP (ORDER BY {})",
    "json_build_object('k', {})",
    "JSON_OBJECT('k': {})",
    "JSON_ARRAY({})",
    "JSON_SCALAR({})",
    "JSON_ARRAYAGG({})",
    "JSON_OBJECTAGG('k': {})",
    "JSON_QUERY({}, '$')",
    "JSON_VALUE({}, '$' DEFAULT 'x' ON ERROR)",
    "xmlelement(name x, {})",
    "xmlforest({} AS x)",
    "xmlelement(name x, xmlattributes({} AS a))",
    "xmlserialize(CONTENT {} AS text)",
    "substring({} FROM 1 FOR 2)",
    "overlay({} PLACING 'x' FROM 1)",
    "position('x' IN {})",
    "trim(BOTH FROM {})",
    "convert_to({}, 'UTF8')",
    "length({})",
    "(- ({}))",
    "format('%s', {})",
];

/// Forms around two values.
const PAIRS: [&str; 12] = [
    "({} || [])",
    "(({}) = ([]))",
    "(({}) IS DISTINCT FROM ([]))",
    "(({}) LIKE ([]))",
    "(({}) IN ('x', []))",
    "(({}) = ANY (ARRAY[[]]))",
    "(({}) BETWEEN ([]) AND 'z')",
    "((({}), 1) < (([]), 2))",
    "coalesce({}, [])",
    "concat({}, [])",
    "JSON_OBJECT({}: [])",
    "(({})::bool AND ([])::bool)",
];

/// Forms around a whole row.
const WHOLE: [&str; 8] = [
    "{}",
    "({})::text",
    "to_json({})",
    "row_to_json({}.*)",
    "ROW({}.*)",
    "json_agg({})",
    "md5({}::text)",
    "ARRAY[{}]",
];

/// Gives columns new names; the list that does it.
fn rename(columns: &mut [Column], stem: &str) -> String {
    let mut names = Vec::new();
    for (place, (name, _)) in columns.iter_mut().enumerate() {
        *name = format!("{stem}{place}");
        names.push(name.clone());
    }
    format!("({})", names.join(", "))
}
