//! An XML document as a tree, as far as EC2's answers need one: elements, and the text in those that have no others.
//!
//! Attributes, comments and declarations are passed over. A document that breaks off, or whose elements are closed in another
//! order than they were opened, is none.

use std::borrow::Cow;

use xmlparser::{ElementEnd, Token, Tokenizer};

/// How deep elements may lie within each other; EC2's need ten.
const MAX_DEPTH: usize = 64;

/// An element and all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element<'a> {
    name: &'a str,
    text: Cow<'a, str>,
    children: Vec<Element<'a>>,
}

/// A text that is no XML document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an XML document: {0}")]
pub(super) struct InvalidXml(String);

impl<'a> Element<'a> {
    /// The outermost element of a document.
    pub fn parse(text: &'a str) -> Result<Element<'a>, InvalidXml> {
        let (mut open, mut root) = (Vec::<Element<'a>>::new(), None);
        for token in Tokenizer::from(text) {
            match token.map_err(|error| InvalidXml(error.to_string()))? {
                Token::ElementStart { local, .. } => {
                    if root.is_some() || open.len() == MAX_DEPTH {
                        return Err(InvalidXml("it has too many elements, or too deep ones".to_owned()));
                    }
                    open.push(Element::new(local.as_str()));
                }
                Token::ElementEnd { end: ElementEnd::Open, .. } => {}
                Token::ElementEnd { end, .. } => {
                    let closed = open.pop().filter(|element| match end {
                        ElementEnd::Close(_, name) => name.as_str() == element.name,
                        ElementEnd::Empty | ElementEnd::Open => true,
                    });
                    let closed = closed.ok_or_else(|| InvalidXml("an end has no beginning".to_owned()))?;
                    match open.last_mut() {
                        Some(parent) => parent.children.push(closed),
                        None => root = Some(closed),
                    }
                }
                Token::Text { text } => {
                    if let Some(element) = open.last_mut() {
                        element.add(unescaped(text.as_str()));
                    }
                }
                Token::Cdata { text, .. } => {
                    if let Some(element) = open.last_mut() {
                        element.add(Cow::Borrowed(text.as_str()));
                    }
                }
                Token::Declaration { .. }
                | Token::ProcessingInstruction { .. }
                | Token::Comment { .. }
                | Token::DtdStart { .. }
                | Token::EmptyDtd { .. }
                | Token::EntityDeclaration { .. }
                | Token::DtdEnd { .. }
                | Token::Attribute { .. } => {}
            }
        }
        root.filter(|_| open.is_empty()).ok_or_else(|| InvalidXml("it has no end".to_owned()))
    }

    fn new(name: &'a str) -> Self {
        Element { name, text: Cow::Borrowed(""), children: Vec::new() }
    }

    fn add(&mut self, text: Cow<'a, str>) {
        match self.text.is_empty() {
            true => self.text = text,
            false => self.text.to_mut().push_str(&text),
        }
    }

    /// Its name, without a prefix.
    pub fn name(&self) -> &str {
        self.name
    }

    /// The first child of this name.
    pub fn child(&self, name: &str) -> Option<&Element<'a>> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of this name, if it is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let text = self.child(name)?.text.trim();
        (!text.is_empty()).then_some(text)
    }

    /// What is in the list of this name: in EC2's answers each entry is an `item`.
    pub fn items(&self, name: &str) -> impl Iterator<Item = &Element<'a>> {
        let list = self.child(name).map_or(&[][..], |list| &list.children);
        list.iter().filter(|entry| entry.name == "item")
    }
}

/// Text with its references replaced: the five of XML, and those by number. What is none stays as it is.
fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, reference)) = rest.split_once('&') {
        plain.push_str(before);
        match reference.split_once(';').and_then(|(name, after)| Some((character(name)?, after))) {
            Some((character, after)) => {
                plain.push(character);
                rest = after;
            }
            None => {
                plain.push('&');
                rest = reference;
            }
        }
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

fn character(reference: &str) -> Option<char> {
    match reference {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = reference.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(number.ok()?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_text_and_lists() {
        let text = "<?xml version=\"1.0\"?>\n<!-- x --><r xmlns=\"u\">\n <a>1 &lt; &#x32;&amp;&#51; &x; &</a><b/>\
                    <list><item><v><![CDATA[<raw>]]></v></item><other/><item/></list></r>\n";
        let root = Element::parse(text).unwrap();
        assert_eq!((root.name(), root.text("a"), root.text("b")), ("r", Some("1 < 2&3 &x; &"), None));
        let values: Vec<_> = root.items("list").map(|item| item.text("v")).collect();
        assert_eq!(values, [Some("<raw>"), None]);
        assert_eq!(root.items("none").count(), 0);
    }

    #[test]
    fn what_is_no_whole_document() {
        let whole = "<r><a>1</a><b/></r>";
        for cut in 0..whole.len() {
            assert!(Element::parse(&whole[..cut]).is_err(), "{}", &whole[..cut]);
        }
        let deep = "<a>".repeat(MAX_DEPTH + 1);
        for text in ["", "words", "<a></b>", "</a>", "<a/><b/>", "<a></a></a>", &deep] {
            assert!(Element::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "([<>/&;\"'= ?!\\[\\]-]|item|<a>|</a>|<a/>|&#|&amp;|\u{e4}|[a-z0-9]){0,40}") {
            let _ = Element::parse(&text);
        }
    }
}
