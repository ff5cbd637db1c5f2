//! The named generators of fake data. A plan holds positions in [`FAKES`]:
//! append, never reorder.

use super::date;
use super::words::*;
use crate::random::Random;
use std::io::Write;

pub(super) struct Fake {
    pub(super) name: &'static str,
    pub(super) made_of: &'static [Piece],
}

/// What a value is put together from.
#[derive(Clone, Copy)]
pub(super) enum Piece {
    Literal(&'static str),
    OneOf(&'static [&'static str]),
    /// In lower case, only letters and digits.
    Plain(&'static [&'static str]),
    Number(i64, i64),
    /// Exactly this many digits, the first above 0.
    Digits(usize),
    Hex(usize),
    Alphanumeric(usize),
    /// Dollars and cents.
    Price(i64, i64),
    /// Hundredths within both bounds.
    Decimal(i64, i64, usize),
    /// Between so many words, spaces between them.
    Words(&'static [&'static str], i64, i64),
    Sentences(i64, i64),
    /// Paragraphs apart by a space: a line break would have to be escaped in JSON.
    Slug(i64),
    /// A date, days before and after now.
    Date(i64, i64),
}

use Piece::*;

const fn fake(name: &'static str, made_of: &'static [Piece]) -> Fake {
    Fake { name, made_of }
}

const FIRST: Piece = OneOf(FIRST_NAMES);
const LAST: Piece = OneOf(LAST_NAMES);
const SPACE: Piece = Literal(" ");
const DOT: Piece = Literal(".");
const DOMAIN: [Piece; 3] = [Plain(NOUNS), DOT, OneOf(DOMAIN_SUFFIXES)];
const FILE: [Piece; 3] = [Plain(ADJECTIVES), Literal("_"), Plain(NOUNS)];

pub(super) static FAKES: &[Fake] = &[
    fake("randomAlphaNumeric", &[Alphanumeric(1)]),
    fake("randomBoolean", &[OneOf(&["true", "false"])]),
    fake("randomColor", &[OneOf(COLORS)]),
    fake("randomHexColor", &[Literal("#"), Hex(6)]),
    fake("randomAbbreviation", &[OneOf(ABBREVIATIONS)]),
    fake("randomIP", &[Number(1, 254), DOT, Number(0, 255), DOT, Number(0, 255), DOT, Number(1, 254)]),
    fake(
        "randomIPV6",
        &[
            Hex(4),
            Literal(":"),
            Hex(4),
            Literal(":"),
            Hex(4),
            Literal(":"),
            Hex(4),
            Literal(":"),
            Hex(4),
            Literal(":"),
            Hex(4),
            Literal(":"),
            Hex(4),
            Literal(":"),
            Hex(4),
        ],
    ),
    fake(
        "randomMACAddress",
        &[
            Hex(2),
            Literal(":"),
            Hex(2),
            Literal(":"),
            Hex(2),
            Literal(":"),
            Hex(2),
            Literal(":"),
            Hex(2),
            Literal(":"),
            Hex(2),
        ],
    ),
    fake("randomPassword", &[Alphanumeric(15)]),
    fake("randomLocale", &[OneOf(LOCALES)]),
    fake("randomUserAgent", &[OneOf(USER_AGENTS)]),
    fake("randomProtocol", &[OneOf(&["http", "https"])]),
    fake("randomSemver", &[Number(0, 9), DOT, Number(0, 9), DOT, Number(0, 9)]),
    fake("randomFirstName", &[FIRST]),
    fake("randomLastName", &[LAST]),
    fake("randomFullName", &[FIRST, SPACE, LAST]),
    fake("randomNamePrefix", &[OneOf(&["Mr.", "Mrs.", "Ms.", "Miss", "Dr."])]),
    fake("randomNameSuffix", &[OneOf(&["Jr.", "Sr.", "I", "II", "III", "IV", "V", "MD", "DDS", "PhD", "DVM"])]),
    fake("randomJobArea", &[OneOf(JOB_AREAS)]),
    fake("randomJobDescriptor", &[OneOf(JOB_DESCRIPTORS)]),
    fake("randomJobTitle", &[OneOf(JOB_DESCRIPTORS), SPACE, OneOf(JOB_AREAS), SPACE, OneOf(JOB_TYPES)]),
    fake("randomJobType", &[OneOf(JOB_TYPES)]),
    fake("randomPhoneNumber", &[Digits(3), Literal("-"), Digits(3), Literal("-"), Digits(4)]),
    fake(
        "randomPhoneNumberExt",
        &[Digits(2), Literal("-"), Digits(3), Literal("-"), Digits(3), Literal("-"), Digits(4)],
    ),
    fake("randomCity", &[OneOf(CITIES)]),
    fake("randomStreetName", &[LAST, SPACE, OneOf(STREET_SUFFIXES)]),
    fake("randomStreetAddress", &[Number(1, 9999), SPACE, LAST, SPACE, OneOf(STREET_SUFFIXES)]),
    fake("randomCountry", &[OneOf(COUNTRIES)]),
    fake("randomCountryCode", &[OneOf(COUNTRY_CODES)]),
    fake("randomLatitude", &[Decimal(-90, 90, 4)]),
    fake("randomLongitude", &[Decimal(-180, 180, 4)]),
    fake("randomAvatarImage", &[Literal("https://avatars.example.com/"), Number(1, 1000), Literal(".jpg")]),
    fake("randomImageUrl", &[Literal("https://images.example.com/640/480/"), Number(1, 1000)]),
    fake("randomBankAccount", &[Digits(8)]),
    fake("randomBankAccountName", &[OneOf(ACCOUNT_NAMES)]),
    fake("randomCreditCardMask", &[Digits(4)]),
    fake("randomBankAccountBic", &[OneOf(BICS)]),
    fake("randomBankAccountIban", &[OneOf(COUNTRY_CODES), Digits(20)]),
    fake("randomTransactionType", &[OneOf(&["invoice", "payment", "deposit", "withdrawal"])]),
    fake("randomCurrencyCode", &[OneOf(CURRENCY_CODES)]),
    fake("randomCurrencyName", &[OneOf(CURRENCY_NAMES)]),
    fake("randomCurrencySymbol", &[OneOf(&["$", "€", "£", "¥", "₹", "₩", "kr", "zł"])]),
    fake("randomBitcoin", &[Literal("1"), Alphanumeric(33)]),
    fake("randomCompanyName", &[LAST, SPACE, OneOf(COMPANY_SUFFIXES)]),
    fake("randomCompanySuffix", &[OneOf(COMPANY_SUFFIXES)]),
    fake("randomBs", &[OneOf(VERBS), SPACE, OneOf(ADJECTIVES), SPACE, OneOf(NOUNS)]),
    fake("randomBsAdjective", &[OneOf(ADJECTIVES)]),
    fake("randomBsBuzz", &[OneOf(VERBS)]),
    fake("randomBsNoun", &[OneOf(NOUNS)]),
    fake("randomCatchPhrase", &[OneOf(ADJECTIVES), SPACE, OneOf(ADJECTIVES), SPACE, OneOf(NOUNS)]),
    fake("randomCatchPhraseAdjective", &[OneOf(ADJECTIVES)]),
    fake("randomCatchPhraseDescriptor", &[OneOf(ADJECTIVES)]),
    fake("randomCatchPhraseNoun", &[OneOf(NOUNS)]),
    fake("randomDatabaseColumn", &[OneOf(DB_COLUMNS)]),
    fake("randomDatabaseType", &[OneOf(DB_TYPES)]),
    fake(
        "randomDatabaseCollation",
        &[OneOf(&["utf8_unicode_ci", "utf8_general_ci", "utf8_bin", "ascii_bin", "ascii_general_ci"])],
    ),
    fake("randomDatabaseEngine", &[OneOf(&["InnoDB", "MyISAM", "MEMORY", "CSV", "ARCHIVE"])]),
    fake("randomDateFuture", &[Date(1, 365)]),
    fake("randomDatePast", &[Date(-365, -1)]),
    fake("randomDateRecent", &[Date(-1, 0)]),
    fake("randomWeekday", &[OneOf(&["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"])]),
    fake("randomMonth", &[OneOf(MONTHS)]),
    fake("randomDomainName", &DOMAIN),
    fake("randomDomainSuffix", &[OneOf(DOMAIN_SUFFIXES)]),
    fake("randomDomainWord", &[Plain(NOUNS)]),
    fake("randomEmail", &[Plain(FIRST_NAMES), DOT, Plain(LAST_NAMES), Number(1, 9999), Literal("@example.com")]),
    fake("randomExampleEmail", &[Plain(FIRST_NAMES), DOT, Plain(LAST_NAMES), Number(1, 9999), Literal("@example.org")]),
    fake("randomUserName", &[Plain(FIRST_NAMES), DOT, Plain(LAST_NAMES), Number(1, 9999)]),
    fake("randomUrl", &[Literal("https://"), Plain(NOUNS), Literal(".example.com")]),
    fake("randomFileName", &[FILE[0], FILE[1], FILE[2], DOT, OneOf(FILE_EXTENSIONS)]),
    fake("randomFileType", &[OneOf(&["image", "audio", "video", "text", "application", "font", "model"])]),
    fake("randomFileExt", &[OneOf(FILE_EXTENSIONS)]),
    fake("randomCommonFileName", &[FILE[0], FILE[1], FILE[2], DOT, OneOf(&["pdf", "png", "mp3", "html", "jpg"])]),
    fake("randomCommonFileType", &[OneOf(&["image", "audio", "video", "text", "application"])]),
    fake("randomCommonFileExt", &[OneOf(&["pdf", "png", "mp3", "html", "jpg"])]),
    fake("randomFilePath", &[Literal("/home/"), Plain(NOUNS), Literal("/"), Plain(NOUNS), DOT, OneOf(FILE_EXTENSIONS)]),
    fake("randomDirectoryPath", &[Literal("/home/"), Plain(NOUNS)]),
    fake("randomMimeType", &[OneOf(MIME_TYPES)]),
    fake("randomPrice", &[Price(0, 1000)]),
    fake("randomProduct", &[OneOf(PRODUCTS)]),
    fake("randomProductAdjective", &[OneOf(ADJECTIVES)]),
    fake("randomProductMaterial", &[OneOf(MATERIALS)]),
    fake("randomProductName", &[OneOf(ADJECTIVES), SPACE, OneOf(MATERIALS), SPACE, OneOf(PRODUCTS)]),
    fake("randomDepartment", &[OneOf(DEPARTMENTS)]),
    fake("randomNoun", &[OneOf(NOUNS)]),
    fake("randomVerb", &[OneOf(VERBS)]),
    fake("randomIngverb", &[OneOf(ING_VERBS)]),
    fake("randomAdjective", &[OneOf(ADJECTIVES)]),
    fake("randomWord", &[OneOf(NOUNS)]),
    fake("randomWords", &[Words(NOUNS, 2, 5)]),
    fake(
        "randomPhrase",
        &[Literal("We need to "), OneOf(VERBS), Literal(" the "), OneOf(ADJECTIVES), SPACE, OneOf(NOUNS), Literal("!")],
    ),
    fake("randomLoremWord", &[OneOf(LOREM)]),
    fake("randomLoremWords", &[Words(LOREM, 3, 3)]),
    fake("randomLoremSentence", &[Sentences(1, 1)]),
    fake("randomLoremSentences", &[Sentences(2, 6)]),
    fake("randomLoremParagraph", &[Sentences(3, 6)]),
    fake("randomLoremParagraphs", &[Sentences(9, 18)]),
    fake("randomLoremText", &[Sentences(2, 10)]),
    fake("randomLoremSlug", &[Slug(3)]),
    fake("randomLoremLines", &[Sentences(1, 5)]),
];

pub(super) fn render(pieces: &[Piece], random: &mut Random, now_unix_ms: u64, out: &mut Vec<u8>) {
    for piece in pieces {
        one(*piece, random, now_unix_ms, out);
    }
}

fn pick(random: &mut Random, list: &'static [&'static str]) -> &'static str {
    list.get(random.below(list.len() as u64) as usize).copied().unwrap_or_default()
}

fn one(piece: Piece, random: &mut Random, now_unix_ms: u64, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    match piece {
        Literal(text) => out.extend_from_slice(text.as_bytes()),
        OneOf(list) => out.extend_from_slice(pick(random, list).as_bytes()),
        Plain(list) => {
            out.extend(pick(random, list).bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase()));
        }
        Number(min, max) => drop(write!(out, "{}", random.between(min, max))),
        Digits(n) => (0..n).for_each(|i| out.push(b'0' + random.between(i64::from(i == 0), 9) as u8)),
        Hex(n) => characters(b"0123456789abcdef", n, random, out),
        Alphanumeric(n) => {
            characters(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", n, random, out);
        }
        Price(min, max) => drop(write!(out, "{}.{:02}", random.between(min, max - 1), random.below(100))),
        Decimal(min, max, digits) => {
            let value = min as f64 + random.unit() * (max - min) as f64;
            let _ = write!(out, "{value:.digits$}");
        }
        Words(list, min, max) => (0..random.between(min, max)).for_each(|i| {
            if i > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(pick(random, list).as_bytes());
        }),
        Sentences(min, max) => (0..random.between(min, max)).for_each(|i| {
            if i > 0 {
                out.push(b' ');
            }
            sentence(random, now_unix_ms, out);
        }),
        Slug(n) => (0..n).for_each(|i| {
            if i > 0 {
                out.push(b'-');
            }
            out.extend_from_slice(pick(random, LOREM).as_bytes());
        }),
        Date(first_day, last_day) => {
            let offset_ms = random.between(first_day * 86_400_000, last_day * 86_400_000);
            date::javascript(now_unix_ms.saturating_add_signed(offset_ms), out);
        }
    }
}

fn sentence(random: &mut Random, now_unix_ms: u64, out: &mut Vec<u8>) {
    let start = out.len();
    one(Words(LOREM, 4, 10), random, now_unix_ms, out);
    if let Some(first) = out.get_mut(start) {
        first.make_ascii_uppercase();
    }
    out.push(b'.');
}

fn characters(of: &[u8], n: usize, random: &mut Random, out: &mut Vec<u8>) {
    for _ in 0..n {
        out.push(of[random.below(of.len() as u64) as usize]);
    }
}
