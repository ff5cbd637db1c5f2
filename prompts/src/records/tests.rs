use super::*;

fn file(text: &str) -> DataFile {
    DataFile { name: "chats.jsonl".to_owned(), bytes: text.to_owned().into() }
}

fn told(text: &str) -> Vec<Vec<(Role, String)>> {
    let records = read(&file(text)).unwrap_or_else(|problems| panic!("{problems}"));
    records.into_iter().map(|record| record.into_iter().map(|said| (said.role, said.text)).collect()).collect()
}

fn found(text: &str) -> Vec<(u32, u32, String)> {
    let problems = read(&file(text)).unwrap_err().problems;
    problems.into_iter().map(|problem| (problem.place.line, problem.place.column, problem.message)).collect()
}

fn said(role: Role, text: &str) -> (Role, String) {
    (role, text.to_owned())
}

const LINES: &str = concat!(
    "{\"prompt\": \"one\", \"completion\": \"two\"}\r\n",
    "\n",
    "{\"id\": \"x\", \"conversations\": [{\"from\": \"gpt\", \"value\": \"cut\"}, {\"from\": \"human\", \"value\": \"hi\"}, {\"from\": \"gpt\", \"value\": \"ho\"}]}\n",
    "{\"messages\": [{\"role\": \"system\", \"content\": \"be\"}, {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"see\"}, {\"type\": \"image_url\", \"image_url\": {\"url\": \"data:\"}}]}]}",
);

#[test]
fn all_three_shapes_are_recognised_line_by_line() {
    use Role::{Assistant, System, User};
    let expected = [
        vec![said(User, "one"), said(Assistant, "two")],
        vec![said(User, "hi"), said(Assistant, "ho")],
        vec![said(System, "be"), said(User, "see")],
    ];
    assert_eq!(told(LINES), expected);
}

#[test]
fn an_array_is_the_same_as_its_lines() {
    let lines: Vec<&str> = LINES.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(told(&format!("\u{feff}[\n{}\n]\n", lines.join(",\n"))), told(LINES));
}

#[test]
fn lines_may_be_arrays_of_messages() {
    let line = r#"[{"role": "user", "content": "a"}]"#;
    assert_eq!(told(&format!("{line}\n{line}\n")), vec![vec![said(Role::User, "a")]; 2]);
}

#[test]
fn a_message_keeps_the_fields_it_came_with() {
    let records = read(&file(r#"{"messages": [{"content": "a\u2028b", "role": "user", "name": "x"}]}"#)).unwrap();
    assert_eq!(records[0][0].json, "{\"content\":\"a\u{2028}b\",\"role\":\"user\",\"name\":\"x\"}".as_bytes());
}

#[test]
fn every_bad_line_is_told_in_one_pass() {
    let text = concat!(
        "{\"prompt\": \"fine\"}\n",
        "{\"prompt\": ü}\n",
        "{\"prompt\": 7}\n",
        "{\"text\": \"x\"}\n",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"human\", \"content\": \"x\"}]}\n",
        "{\"conversations\": [{\"from\": \"gpt\", \"value\": \"x\"}]}\n",
        "{\"conversations\": {}}\n",
        "{\"conversations\": [{\"from\": \"nobody\", \"value\": \"x\"}]}\n",
        "{\"messages\": [{\"role\": \"user\"}]}\n",
        "7\n",
    );
    let found = found(text);
    let lines: Vec<u32> = found.iter().map(|(line, ..)| *line).collect();
    assert_eq!(lines, (2..=10).collect::<Vec<_>>());
    assert_eq!(found[0].1, 12);
    let messages: Vec<&str> = found.iter().map(|(.., message)| message.as_str()).collect();
    assert!(messages[0].starts_with("this is not JSON: expected value"), "{}", messages[0]);
    assert_eq!(messages[1], "`prompt` is not a text");
    assert!(messages[2].contains("none of the known shapes"), "{}", messages[2]);
    assert!(messages[3].starts_with("message 2: the role `human`"), "{}", messages[3]);
    assert_eq!(messages[4], "no message of the user in it");
    assert_eq!(messages[5], "`conversations` is not a list");
    assert!(messages[6].starts_with("turn 1: `nobody`"), "{}", messages[6]);
    assert!(messages[7].starts_with("message 1: `content`"), "{}", messages[7]);
    assert!(messages[8].starts_with("this is no object"), "{}", messages[8]);
}

#[test]
fn a_bad_item_of_an_array_has_the_line_it_begins_on() {
    let found = found("[\n  {\"prompt\": \"fine\"},\n  {\n    \"prompt\": 7\n  }\n]");
    assert_eq!(found, [(3, 1, "`prompt` is not a text".to_owned())]);
}

#[test]
fn a_broken_array_is_told_at_its_place() {
    let found = found("[{\"prompt\": \"a\"},\n {\"prompt\": }]");
    assert_eq!((found.len(), found[0].0, found[0].1), (1, 2, 13));
}

#[test]
fn an_empty_file_and_one_that_is_no_text_say_so() {
    assert_eq!(found(" \n")[0].2, "no prompts in this file");
    assert_eq!(found("[]")[0].2, "no prompts in this file");
    let file = DataFile { name: "x".to_owned(), bytes: bytes::Bytes::from_static(b"{\"prompt\": \"a\"}\n\xff\n") };
    let problem = &read(&file).unwrap_err().problems[0];
    assert_eq!((problem.place.line, problem.message.as_str()), (2, "this is not UTF-8 text"));
}

#[test]
fn a_file_of_nothing_but_mistakes_keeps_a_thousand() {
    let problems = read(&file(&"x\n".repeat(1_500))).unwrap_err();
    assert_eq!((problems.problems.len(), problems.more), (1_000, 500));
    let shown = problems.to_string();
    assert!(shown.starts_with("chats.jsonl:1:1: this is not JSON"), "{shown}");
    assert!(shown.ends_with("… and 1480 more\n1500 problems"), "{shown}");
}
