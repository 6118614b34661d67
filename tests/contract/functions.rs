//! What the text of the management functions says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::LazyLock,
};

use regex::Regex;

/// One function, without its comments.
pub struct Function {
    /// The names of its parameters, in order.
    parameters: Vec<String>,
    /// Its text.
    pub text: String,
}

/// All functions by name. Where one name has several, they are read as one.
static FUNCTIONS: LazyLock<BTreeMap<String, Function>> = LazyLock::new(|| {
    let begin = Regex::new(r"CREATE OR REPLACE FUNCTION edu_matrix_hub_schema\.(\w+)\s*\(").unwrap();
    let mut functions = BTreeMap::<String, Function>::new();
    for text in files("sql/schema_management").iter().chain(&files("sql/observe")) {
        for (part, name) in begin.split(text).skip(1).zip(begin.captures_iter(text)) {
            let parameter = |one: &String| one.split_whitespace().next().unwrap_or_default().to_owned();
            let function =
                Function { parameters: arguments(part).iter().map(parameter).collect(), text: part.to_owned() };
            functions
                .entry(name[1].to_owned())
                .and_modify(|known| known.text.push_str(&function.text))
                .or_insert(function);
        }
    }
    functions
});

static READ: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\b(\w+)\s*(?:(?:->>|->|\?)\s*'|#>>?\s*'\{)(\w+)[',}]").unwrap());
static CALL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"edu_matrix_hub_schema\.(\w+)\(").unwrap());

/// The function of this name.
pub fn function(name: &str) -> Option<&'static Function> {
    FUNCTIONS.get(name)
}

impl Function {
    /// A function of this text, with no parameters.
    pub fn of(text: &str) -> Self {
        Self { parameters: Vec::new(), text: without_comments(text) }
    }

    /// True when it reads this key of the document in that parameter, or hands the document whole to a function that does.
    pub fn reads(&self, document: &str, key: &str) -> bool {
        if READ.captures_iter(&self.text).any(|read| &read[1] == document && &read[2] == key) {
            return true;
        }
        CALL.captures_iter(&self.text).any(|call| {
            let given = arguments(&self.text[call.get(0).unwrap().end()..]);
            let Some(place) = given.iter().position(|argument| argument.trim() == document) else { return false };
            let Some(called) = function(&call[1]) else { return false };
            called.parameters.get(place).is_some_and(|parameter| called.reads(parameter, key))
        })
    }

    /// True when it, or a function that it calls, reads a key of this name of some document.
    pub fn names(&self, key: &str) -> bool {
        let types = "text|uuid|bigint|integer|boolean|timestamptz|jsonb";
        let key = Regex::new(&format!(r"->>?\s*'{key}'|\{{(?:\w+,)*{key}(?:,\w+)*\}}|\b{key} (?:{types})\b")).unwrap();
        let (mut left, mut seen) = (vec![self], BTreeSet::new());
        while let Some(next) = left.pop() {
            if key.is_match(&next.text) {
                return true;
            }
            let called = CALL.captures_iter(&next.text).map(|call| call[1].to_owned());
            left.extend(called.filter(|name| seen.insert(name.clone())).filter_map(|name| function(&name)));
        }
        false
    }
}

/// Every word that the functions refuse with.
pub fn refusals() -> BTreeSet<String> {
    files("sql/schema_management").iter().flat_map(|text| refusals_of(text)).collect()
}

/// The words that this text refuses with: the first argument of `_refuse`, and what `reason` is in an answer's detail.
pub fn refusals_of(text: &str) -> Vec<String> {
    let place = Regex::new(r#"_refuse\(|[(,]\s*'reason',|"reason": "(\w+)""#).unwrap();
    place
        .captures_iter(text)
        .flat_map(|found| match found.get(1) {
            Some(word) => vec![word.as_str().to_owned()],
            None => results(&arguments(&text[found.get(0).unwrap().end()..])[0]),
        })
        .collect()
}

/// Every word that the log says of what was done, and of how it ended.
pub fn logged() -> [BTreeSet<String>; 2] {
    let log = Regex::new(r"\b_log\(").unwrap();
    let failure = Regex::new(r"\b_failure\(").unwrap();
    let mut words = [BTreeSet::new(), BTreeSet::new()];
    for text in files("sql/schema_management").iter().chain(&files("sql/observe")) {
        let calls = |call: &Regex| call.find_iter(text).map(|call| arguments(&text[call.end()..])).collect::<Vec<_>>();
        for of in calls(&log).iter().filter(|of| of.len() > 2) {
            words[0].extend(results(of[1].trim()));
            words[1].extend(results(of[2].trim()));
        }
        words[0].extend(calls(&failure).iter().flat_map(|of| results(of[0].trim())));
    }
    words
}

/// The texts that an expression comes to; those that it compares or looks up are left out.
fn results(expression: &str) -> Vec<String> {
    static RESULT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?:^|\bTHEN|\bELSE)\s*'(\w+)'").unwrap());
    RESULT.captures_iter(expression).map(|found| found[1].to_owned()).collect()
}

/// The words that a column may have, by its CHECK.
pub fn checked(table: &str, column: &str) -> BTreeSet<String> {
    let check = Regex::new(&format!(r"CHECK \({column} IN \(([^)]*)\)\)")).unwrap();
    let text = fs::read_to_string(format!("sql/registry/{table}.sql")).unwrap();
    let found: Vec<_> = check.captures_iter(&text).collect();
    assert_eq!(found.len(), 1, "{table} says once what {column} may be");
    found[0][1].split(',').map(|word| word.trim().trim_matches('\'').to_owned()).collect()
}

/// The arguments of a call, of which this is the text after the opening parenthesis.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut found) = (0_i32, false, vec![String::new()]);
    for letter in text.chars() {
        match letter {
            '\'' => quoted = !quoted,
            '(' | '[' if !quoted => depth += 1,
            ')' | ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        if depth < 0 {
            break;
        }
        found.last_mut().unwrap().push(letter);
    }
    found
}

fn files(folder: &str) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|path| without_comments(&fs::read_to_string(path).unwrap())).collect()
}

/// No text of the functions has two dashes between quotes.
fn without_comments(text: &str) -> String {
    static COMMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?m)--.*$").unwrap());
    COMMENT.replace_all(text, "").into_owned()
}
