//! docs/plans.md is held against the schema: nothing missing, nothing that does not load.

use super::*;
use serde_json::Value;

fn guide() -> String {
    page("docs/plans.md")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// What stands under `### name`.
fn section<'g>(guide: &'g str, name: &str) -> &'g str {
    let head = format!("\n### {name}\n");
    let start = guide.find(&head).unwrap_or_else(|| panic!("no section `{name}`")) + head.len();
    let rest = &guide[start..];
    &rest[..rest.find("\n### ").unwrap_or(rest.len())]
}

fn every_key_is_in(guide: &str, name: &str, object: &Value) {
    let section = section(guide, name);
    for (key, schema) in object["properties"].as_object().unwrap() {
        let row = section.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("`{key}` is missing in section `{name}`"));
        let description = schema["description"].as_str().unwrap();
        if let Some((_, default)) = description.rsplit_once(" Default: ") {
            let default = default.trim_end_matches('.');
            assert!(row.contains(default), "`{key}` in `{name}`: the default is {default}\n{row}");
        }
    }
    let rows = section.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, object["properties"].as_object().unwrap().len(), "section `{name}` has keys that are not there");
}

#[test]
fn every_key_and_default_of_the_schema_is_in_the_guide() {
    let (guide, schema) = (guide(), json_schema());
    every_key_is_in(&guide, "plan", &schema);
    for (name, object) in schema["$defs"].as_object().unwrap() {
        every_key_is_in(&guide, name, object);
    }
}

#[test]
fn every_dynamic_value_is_in_the_guide() {
    let guide = guide();
    let missing: Vec<&str> = crate::dynamic::names().filter(|name| !guide.contains(&format!("${name}"))).collect();
    assert_eq!(missing, [""; 0]);
}

/// Blocks fenced as `yaml` are whole plans; parts of plans are fenced as `yaml part`.
#[test]
fn every_plan_in_the_guide_and_the_readme_loads_without_a_warning() {
    let pages = format!("{}\n{}", guide(), page("README.md"));
    let plans: Vec<&str> =
        pages.split("\n```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or_default()).collect();
    assert!(plans.len() >= 10, "{}", plans.len());
    for text in plans {
        match load(&source(text)) {
            Ok(loaded) => assert_eq!(loaded.warnings, [], "{text}"),
            Err(problems) => panic!("{problems}\n{text}"),
        }
    }
}
