use super::*;
use proptest::prelude::*;

const VALID: [&str; 3] = [
    INIT_PLAN,
    include_str!("../../../../../examples/checkout.yaml"),
    include_str!("../../../../../examples/staircase-and-spike.yaml"),
];

fn survives(text: &str) {
    let _ = referenced_files(text, &[]);
    match load(&source(text)) {
        Ok(loaded) => {
            let again = load(&source(&loaded.resolved_yaml)).map(|again| again.plan);
            assert_eq!(again, Ok(loaded.plan), "{}", loaded.resolved_yaml);
        }
        Err(problems) => {
            assert!(!problems.problems().is_empty());
            let _ = problems.to_string();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text(text in any::<String>()) {
        survives(&text);
    }

    #[test]
    fn any_yaml_like_text(text in "([a-z]{1,4}: |- |[{}\\[\\],:#&*!|>'\"%@`\n ]|\\{\\{|\\}\\}|\\$|é|[0-9/]){0,60}") {
        survives(&text);
    }

    /// One piece of a valid plan is replaced.
    #[test]
    fn a_plan_with_a_slip(which in 0..VALID.len(), at in any::<prop::sample::Index>(), cut in 0usize..12, put in "[ -~\n\u{e9}\u{85}\u{2028}\u{feff}]{0,6}") {
        let chars: Vec<char> = VALID[which].chars().collect();
        let at = at.index(chars.len());
        let text: String = chars[..at].iter().copied().chain(put.chars()).chain(chars[(at + cut).min(chars.len())..].iter().copied()).collect();
        survives(&text);
    }

    #[test]
    fn any_override(key in "[a-z.0-9_]{0,30}|load\\.[a-z.]{0,12}|targets\\.shop\\.[a-z]{0,5}", value in any::<String>()) {
        let _ = with(INIT_PLAN, &[(&key, &value)]);
    }
}

#[test]
fn aliases_cannot_multiply_without_end() {
    let mut text = "tags: &a0 {k: v}\n".to_owned();
    for n in 1..40 {
        text += &format!("x{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "));
    }
    let problems = load(&source(&text)).unwrap_err();
    assert!(problems.to_string().contains("aliases counted out"), "{problems}");
}

#[test]
fn nesting_and_size_are_bounded() {
    let deep = format!("json: {}{}", "[".repeat(200), "]".repeat(200));
    assert!(load(&source(&deep)).unwrap_err().to_string().contains("nested more than"));
    let deeper = format!("json: {}", "[".repeat(100_000));
    assert!(load(&source(&deeper)).is_err());
    assert!(load(&source(&"#".repeat(300 * 1024))).unwrap_err().to_string().contains("256 KiB"));
    let vars = format!("vars: {{a: {}}}\nname: {:?}\n", "x".repeat(10_000), "{{a}}".repeat(1000));
    assert!(load(&source(&vars)).unwrap_err().to_string().contains("1 MiB"));
}
