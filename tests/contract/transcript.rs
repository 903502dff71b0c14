//! What was seen in one run, with everything masked that two runs cannot share.

/// Lines of text in which ids, and the prefix of the run, are replaced by what they stand for.
#[derive(Debug)]
pub struct Transcript {
    prefix: String,
    /// Ids in the order in which they were first seen.
    ids: Vec<String>,
    lines: Vec<String>,
}

impl Transcript {
    /// An empty one for the run with this prefix.
    pub fn new(prefix: &str) -> Transcript {
        Transcript {
            prefix: prefix.to_owned(),
            ids: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Adds what was seen.
    pub fn note(&mut self, text: &str) {
        let masked = self.mask(text);
        self.lines.extend(masked.lines().map(str::to_owned));
    }

    /// Knows an id from now on, also by its first twelve digits.
    pub fn learn(&mut self, id: &str) {
        if !self.ids.iter().any(|known| known == id) {
            self.ids.push(id.to_owned());
        }
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.lines.join("\n")
    }

    fn mask(&mut self, text: &str) -> String {
        let text = text.replace(&self.prefix, "<run>");
        let mut masked = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(start) = rest.find(|letter: char| letter.is_ascii_hexdigit()) {
            let (before, from) = rest.split_at(start);
            masked.push_str(before);
            let length = from
                .find(|letter: char| !letter.is_ascii_hexdigit())
                .unwrap_or(from.len());
            let (word, after) = from.split_at(length);
            masked.push_str(&self.word(word));
            rest = after;
        }
        masked.push_str(rest);
        masked
    }

    /// A run of hex digits: an id, the start of one, or just text.
    fn word(&mut self, word: &str) -> String {
        let plain = |letter: char| letter.is_ascii_digit() || letter.is_ascii_lowercase();
        if !word.chars().all(plain) || !matches!(word.len(), 12 | 64) {
            return word.to_owned();
        }
        let known = self.ids.iter().position(|id| id.starts_with(word));
        match (known, word.len()) {
            (Some(number), 64) => format!("<id {number}>"),
            (Some(number), _) => format!("<short {number}>"),
            (None, 64) => {
                self.ids.push(word.to_owned());
                format!("<id {}>", self.ids.len() - 1)
            }
            (None, _) => word.to_owned(),
        }
    }
}
