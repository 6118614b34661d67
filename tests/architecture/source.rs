//! A Rust file taken apart: its code without comments and tests, the texts in it, and what its `use` lines name.
//!
//! A lexer of its own and not a parser: it knows comments, strings and characters, which is all that is needed to tell
//! what a file says from what it says about itself.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
};

use regex::Regex;

/// One file of the project.
pub struct Source {
    /// Its path from the root, with `/`.
    pub path: String,
    /// Everything.
    pub text: String,
    /// Without comments, without the texts between quotes, without its tests.
    pub code: String,
    /// The texts between quotes outside of comments and tests.
    pub literals: Vec<String>,
}

impl Source {
    /// The folder it is in: the crate, or the first part of its path below `src/`.
    pub fn room(&self) -> &str {
        if let Some(below) = self.path.strip_prefix("crates/") {
            return below.split('/').next().unwrap_or(below);
        }
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The stage that it is, or is a part of: the second part of its path below `src/`.
    pub fn stage(&self) -> &str {
        self.path.split('/').nth(2).unwrap_or_default().trim_end_matches(".rs")
    }

    /// Everything that its `use` lines name, one whole path each, and the paths from `crate` in its code.
    pub fn uses(&self) -> BTreeSet<String> {
        static STATEMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\buse\s+([^;]+);").unwrap());
        static PATH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bcrate(?:::\w+)+").unwrap());
        let mut found = BTreeSet::new();
        for tree in STATEMENT.captures_iter(&self.code) {
            expand("", &tree[1], &mut found);
        }
        found.extend(PATH.find_iter(&self.code).map(|path| path.as_str().to_owned()));
        found
    }

    /// The folders of this crate that it names.
    pub fn rooms(&self) -> BTreeSet<String> {
        let uses = self.uses();
        uses.iter().filter_map(|path| path.strip_prefix("crate::")?.split("::").next()).map(str::to_owned).collect()
    }

    /// Whether a word stands in its code.
    pub fn says(&self, pattern: &'static str) -> bool {
        // Making a pattern takes longer than looking for it, and each is looked for in every file.
        static PATTERNS: LazyLock<Mutex<HashMap<&'static str, Regex>>> = LazyLock::new(Mutex::default);
        let mut patterns = PATTERNS.lock().unwrap();
        patterns.entry(pattern).or_insert_with(|| Regex::new(pattern).unwrap()).is_match(&self.code)
    }
}

/// Every file with this ending below a folder of the project.
pub fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The path from the root of the project.
pub fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// Every Rust file of the crates, taken apart.
pub fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let all = [files("crates", "rs"), files("src", "rs")].concat();
        // The test programs of a crate lie beside its source.
        let tests = |path: &&PathBuf| relative(path).contains("/tests/");
        all.iter()
            .filter(|path| !tests(path))
            .map(|path| read(relative(path), fs::read_to_string(path).unwrap()))
            .collect()
    });
    &SOURCES
}

/// Takes one file apart.
pub fn read(path: String, text: String) -> Source {
    let (code, literals) = lex(&text);
    // A file's own tests stand at its end.
    let end = code.find("#[cfg(test)]").unwrap_or(code.len());
    let kept = code[..end].matches('\u{0}').count();
    Source { path, text, code: code[..end].replace('\u{0}', ""), literals: literals.into_iter().take(kept).collect() }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Code without comments, a zero character for each text, and the texts.
fn lex(text: &str) -> (String, Vec<String>) {
    static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(concat!(
            r"(?s)",
            r"(?P<comment>//[^\n]*|/\*.*?\*/)",
            r###"|(?P<raw>\bb?r(?:"[^"]*"|#"(?:.*?)"#|##"(?:.*?)"##))"###,
            r##"|(?P<text>b?"(?:\\.|[^"\\])*")"##,
            r"|(?P<character>b?'(?:\\(?:u\{[^}]*\}|.)|[^'\\\n])')",
        ))
        .unwrap()
    });
    let (mut code, mut literals, mut last) = (String::new(), Vec::new(), 0);
    for found in TOKEN.captures_iter(text) {
        let whole = found.get(0).unwrap();
        code.push_str(&text[last..whole.start()]);
        last = whole.end();
        if found.name("raw").is_some() || found.name("text").is_some() {
            code.push('\u{0}');
            literals.push(whole.as_str().to_owned());
        }
    }
    code.push_str(&text[last..]);
    (code, literals)
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(prefix: &str, tree: &str, into: &mut BTreeSet<String>) {
    let tree = tree.trim();
    if let Some((head, rest)) = tree.split_once('{') {
        let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
        let prefix = format!("{prefix}{}", head.trim());
        let (mut depth, mut start) = (0_i32, 0);
        for (at, character) in inner.char_indices() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(&prefix, &inner[start..at], into);
                    start = at + 1;
                }
                _ => {}
            }
        }
        expand(&prefix, &inner[start..], into);
    } else if !tree.is_empty() {
        let name = tree.split(" as ").next().unwrap_or(tree).trim();
        into.insert(if name == "self" { prefix.trim_end_matches(':').to_owned() } else { format!("{prefix}{name}") });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_apart() {
        let text = "//! about \"x\"\nuse a::{b, c::{d, self}, e as f};\nfn g<'a>() { let s = \"te\\\"xt\"; crate::h::i(); let q = '\"'; }\n\
                    #[cfg(test)]\nmod tests { const T: &str = \"hidden\"; use z::y; }\n";
        let source = read("src/x/y.rs".to_owned(), text.to_owned());
        assert_eq!(source.literals, ["\"te\\\"xt\""]);
        let uses: Vec<_> = source.uses().into_iter().collect();
        assert_eq!(uses, ["a::b", "a::c", "a::c::d", "a::e", "crate::h::i"]);
        assert_eq!((source.room(), source.file()), ("x", "y.rs"));
    }
}
