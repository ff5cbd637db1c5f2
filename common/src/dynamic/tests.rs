use super::*;

fn rendered(call: &str, seed: u64) -> String {
    let mut out = Vec::new();
    render(&parse(call).unwrap(), &mut Random::at(seed, &[]), 1_772_533_230_123, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_value_can_stand_in_a_json_text() {
    for name in names() {
        for seed in 0..200 {
            let value = rendered(name, seed);
            assert!(!value.is_empty(), "{name}");
            let json = format!("\"{value}\"");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), value, "{name}");
        }
    }
}

#[test]
fn there_are_more_than_sixty_names_and_none_twice() {
    let mut all: Vec<String> = names().map(str::to_lowercase).collect();
    assert!(all.len() > 60, "{}", all.len());
    all.sort();
    let n = all.len();
    all.dedup();
    assert_eq!(all.len(), n);
}

#[test]
fn a_seed_names_the_same_values_for_ever() {
    let values = names().map(|name| format!("{name}: {}", rendered(name, 7))).collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(values);
}

#[test]
fn case_does_not_matter_and_bounds_are_kept() {
    assert_eq!(parse("RandomInt"), Ok(Dynamic::Int { min: 0, max: 1000 }));
    assert_eq!(parse("randomInt 1 100"), Ok(Dynamic::Int { min: 1, max: 100 }));
    assert_eq!(parse("randomInt(-5, 5)"), Ok(Dynamic::Int { min: -5, max: 5 }));
    assert_eq!(parse("RANDOMUUID"), Ok(Dynamic::Guid));
    assert!(parse("randomInt 5 1").is_err());
    assert!(parse("randomInt x").is_err());
    assert!(parse("guid 3").is_err());
    assert_eq!(parse("randomFristName").unwrap_err().advice, "write `{{$randomFirstName}}`");
}

#[test]
fn times_and_guids_have_their_forms() {
    assert_eq!(rendered("timestamp", 1), "1772533230");
    assert_eq!(rendered("isoTimestamp", 1), "2026-03-03T10:20:30.123Z");
    let guid = rendered("guid", 1);
    assert_eq!(guid.len(), 36);
    assert_eq!(guid.as_bytes()[14], b'4');
    assert!(b"89ab".contains(&guid.as_bytes()[19]));
}
