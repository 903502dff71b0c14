//! Label selectors: `app=web,tier in (a, b),!legacy`.
//!
//! Owns their grammar and what they select. Must not know objects, only labels. Invariant: parsing is linear, and a
//! selector has a bounded number of requirements.

use serde_json::Value;

use crate::builtin::qualified_name;
use crate::schema::{label_value, quote};

use super::MAX_REQUIREMENTS;

/// A parsed label selector; empty selects everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Parses `app=web,tier in (a, b),!legacy`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        Parser::new(text).selector()
    }

    /// Whether an object with these labels is selected; anything but an object of strings is no labels.
    pub fn matches(&self, labels: &Value) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key).and_then(Value::as_str);
            let number = |value: Option<&str>| value.and_then(|value| value.parse::<i64>().ok());
            match &requirement.test {
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
                Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
                Test::Greater(bound) => number(value).is_some_and(|number| number > *bound),
                Test::Less(bound) => number(value).is_some_and(|number| number < *bound),
            }
        })
    }

    /// Whether everything is selected.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Comma,
    Open,
    Close,
    Equal,
    NotEqual,
    Greater,
    Less,
    Bang,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Word(word) => word,
            Token::Comma => ",",
            Token::Open => "(",
            Token::Close => ")",
            Token::Equal => "=",
            Token::NotEqual => "!=",
            Token::Greater => ">",
            Token::Less => "<",
            Token::Bang => "!",
        }
    }
}

struct Parser {
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl Parser {
    fn new(text: &str) -> Self {
        Self {
            tokens: tokens(text).into_iter().peekable(),
        }
    }

    fn selector(mut self) -> Result<LabelSelector, String> {
        let mut requirements = Vec::new();
        while self.tokens.peek().is_some() {
            if requirements.len() == MAX_REQUIREMENTS {
                return Err(format!(
                    "a selector may have at most {MAX_REQUIREMENTS} requirements"
                ));
            }
            requirements.push(self.requirement()?);
            match self.tokens.next() {
                None => break,
                Some(Token::Comma) => {
                    if !matches!(self.tokens.peek(), Some(Token::Word(_) | Token::Bang)) {
                        return Err(format!(
                            "found '{}', expected: identifier after ','",
                            self.tokens.peek().map_or("", Token::text)
                        ));
                    }
                }
                Some(other) => {
                    return Err(format!(
                        "found '{}', expected: ',' or 'end of string'",
                        other.text()
                    ));
                }
            }
        }
        requirements.sort_by(|a: &Requirement, b| a.key.cmp(&b.key));
        Ok(LabelSelector { requirements })
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.tokens.next_if_eq(&Token::Bang).is_some();
        let key = match self.tokens.next() {
            Some(Token::Word(word)) => word,
            other => {
                return Err(format!(
                    "found '{}', expected: !, identifier, or 'end of string'",
                    other.as_ref().map_or("", Token::text)
                ));
            }
        };
        if let Some(message) = qualified_name(&key).first() {
            return Err(format!("key: Invalid value: {}: {message}", quote(&key)));
        }
        if absent {
            return Ok(Requirement {
                key,
                test: Test::Absent,
            });
        }
        let operator = match self.tokens.peek() {
            None | Some(Token::Comma) => {
                return Ok(Requirement {
                    key,
                    test: Test::Exists,
                });
            }
            Some(_) => self.tokens.next(),
        };
        let test = match operator {
            Some(Token::Equal) => Test::In(vec![self.value(&key)?]),
            Some(Token::NotEqual) => Test::NotIn(vec![self.value(&key)?]),
            Some(Token::Greater) => Test::Greater(self.number(&key)?),
            Some(Token::Less) => Test::Less(self.number(&key)?),
            Some(Token::Word(word)) if word == "in" => Test::In(self.values(&key)?),
            Some(Token::Word(word)) if word == "notin" => Test::NotIn(self.values(&key)?),
            other => {
                return Err(format!(
                    "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                    other.as_ref().map_or("", Token::text)
                ));
            }
        };
        Ok(Requirement { key, test })
    }

    /// A single value; none at all is the empty string.
    fn value(&mut self, key: &str) -> Result<String, String> {
        let value = match self.tokens.peek() {
            Some(Token::Word(_)) => match self.tokens.next() {
                Some(Token::Word(word)) => word,
                _ => String::new(),
            },
            None | Some(Token::Comma) => String::new(),
            Some(other) => {
                return Err(format!("found '{}', expected: identifier", other.text()));
            }
        };
        check_value(key, value)
    }

    fn number(&mut self, key: &str) -> Result<i64, String> {
        let value = self.value(key)?;
        value.parse().map_err(|_| {
            format!("values[0][{key}]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer", quote(&value))
        })
    }

    fn values(&mut self, key: &str) -> Result<Vec<String>, String> {
        if self.tokens.next() != Some(Token::Open) {
            return Err("found '', expected: '('".to_owned());
        }
        let mut values = Vec::new();
        loop {
            match self.tokens.next() {
                Some(Token::Word(word)) => {
                    values.push(check_value(key, word)?);
                    match self.tokens.next() {
                        Some(Token::Comma) => {
                            // `(a,)` names the empty value too.
                            if self.tokens.next_if_eq(&Token::Close).is_some() {
                                values.push(String::new());
                                break;
                            }
                        }
                        Some(Token::Close) => break,
                        other => {
                            return Err(format!(
                                "found '{}', expected: ',' or ')'",
                                other.as_ref().map_or("", Token::text)
                            ));
                        }
                    }
                }
                Some(Token::Comma) => {
                    values.push(String::new());
                    if self.tokens.next_if_eq(&Token::Close).is_some() {
                        values.push(String::new());
                        break;
                    }
                }
                Some(Token::Close) if values.is_empty() => {
                    values.push(String::new());
                    break;
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: ',', or identifier",
                        other.as_ref().map_or("", Token::text)
                    ));
                }
            }
            if values.len() > MAX_REQUIREMENTS {
                return Err(format!(
                    "a requirement may have at most {MAX_REQUIREMENTS} values"
                ));
            }
        }
        Ok(values)
    }
}

fn check_value(key: &str, value: String) -> Result<String, String> {
    match label_value(&value).first() {
        Some(message) => Err(format!(
            "values[0][{key}]: Invalid value: {}: {message}",
            quote(&value)
        )),
        None => Ok(value),
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let token = match c {
            c if c.is_whitespace() => continue,
            ',' => Token::Comma,
            '(' => Token::Open,
            ')' => Token::Close,
            '>' => Token::Greater,
            '<' => Token::Less,
            '=' => {
                let _ = chars.next_if_eq(&'=');
                Token::Equal
            }
            '!' if chars.next_if_eq(&'=').is_some() => Token::NotEqual,
            '!' => Token::Bang,
            c => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !",()=!<>".contains(*c))
                {
                    word.push(c);
                }
                Token::Word(word)
            }
        };
        tokens.push(token);
    }
    tokens
}
