use super::*;

fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// Every plan that ships, with the files it refers to.
fn shipped() -> Vec<PlanSource> {
    let mut plans = vec![PlanSource { name: "init".to_owned(), text: INIT_PLAN.to_owned(), ..PlanSource::default() }];
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let files = referenced_files(&text, &[])
                .into_iter()
                .map(|file| (file.clone(), Bytes::from(std::fs::read(folder().join(file)).unwrap())))
                .collect();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            plans.push(PlanSource { name, text, files, overrides: Vec::new() });
        }
    }
    assert!(plans.len() >= 7);
    plans
}

#[test]
fn every_example_loads_without_a_warning() {
    for source in shipped() {
        match load(&source) {
            Ok(loaded) => assert_eq!(loaded.warnings, [], "{}", source.name),
            Err(problems) => panic!("{problems}"),
        }
    }
}

#[test]
fn the_resolved_plan_is_the_same_plan() {
    let short = PlanSource { overrides: vec![("target".to_owned(), "http://h:1/base".to_owned())], ..source(SHORT) };
    for source in shipped().into_iter().chain([short]) {
        let loaded = load(&source).unwrap();
        let again = PlanSource { text: loaded.resolved_yaml.clone(), overrides: Vec::new(), ..source };
        match load(&again) {
            Ok(again) => assert_eq!(again.plan, loaded.plan),
            Err(problems) => panic!("{problems}\n{}", loaded.resolved_yaml),
        }
    }
}

#[test]
fn the_schema_accepts_every_example_and_refuses_an_unknown_key() {
    let validator = jsonschema::draft202012::new(&json_schema()).unwrap();
    for source in shipped().into_iter().chain([source(SHORT)]) {
        let root = yaml::parse(&source.text, &mut Vec::new()).unwrap().to_json();
        let errors: Vec<String> =
            validator.iter_errors(&root).map(|error| format!("{error} at {}", error.instance_path())).collect();
        assert_eq!(errors, [""; 0], "{}", source.name);
    }
    for wrong in ["concurency: 1", "load: {user: 1}", "scenarios: {a: {steps: [{gte: /}]}}", "hold_for: 30", "slo: p99"]
    {
        let root = yaml::parse(wrong, &mut Vec::new()).unwrap().to_json();
        assert!(!validator.is_valid(&root), "{wrong}");
    }
}

#[test]
fn a_limit_can_be_set_to_fail_three_regions() {
    let text = std::fs::read_to_string(folder().join("three-regions.yaml")).unwrap();
    let plan = with(&text, &[("p99_limit", "1us"), ("targets.eastus.url", "http://127.0.0.1:9")]).unwrap().plan;
    assert_eq!(plan.slos[0].limit, 1.0);
    assert_eq!(plan.targets[0].port, 9);
}

#[test]
fn what_a_plan_refers_to_is_named_once() {
    let text = "vars: {dir: data}\nfeeders: {a: '{{dir}}/a.csv', b: {file: b.jsonl}}\ntargets: {t: {url: https://h, tls: {ca: ca.pem, client_cert: c.pem, client_key: /k.pem}}}\nscenarios: {s: {put: /, body_file: b.bin}, t: {steps: [{put: /, body_file: b.bin}]}}\n";
    assert_eq!(
        referenced_files(text, &[("dir".to_owned(), "d".to_owned())]),
        ["b.bin", "b.jsonl", "c.pem", "ca.pem", "d/a.csv"]
    );
}
