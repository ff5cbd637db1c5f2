use super::*;

fn quick() -> QuickPlan {
    QuickPlan {
        url: "http://h:81/path?x=1".to_owned(),
        users: Some("50".to_owned()),
        duration: Some("30s".to_owned()),
        ..QuickPlan::default()
    }
}

#[test]
fn flags_are_a_plan() {
    let quick =
        QuickPlan { headers: vec!["X-A: b: c".to_owned()], data: Some("{\"id\": \"{{$guid}}\"}".into()), ..quick() };
    let plan = quick.load().unwrap().plan;
    assert_eq!(plan.loads[0].peak_users(), Some(50));
    let step = &plan.scenarios[0].steps[0];
    assert_eq!((step.method.as_str(), step.path.as_literal().unwrap()), ("POST", "/path?x=1".into()));
    assert_eq!(step.headers[0], ("x-a".to_owned(), Template::literal("b: c")));
    assert_eq!(load(&quick.source()).unwrap().plan, plan);
}

#[test]
fn a_target_of_flags_is_the_one_of_the_url_and_more() {
    let plain = QuickPlan { url: "https://h:81/path?x=1".to_owned(), ..quick() };
    let more = QuickPlan { insecure: true, http2: true, ..plain.clone() };
    let (plain, more) = (plain.load().unwrap().plan, more.load().unwrap());
    assert!(more.warnings.is_empty());
    let target = &more.plan.targets[0];
    assert!(target.tls.insecure && target.http == HttpVersion::Http2);
    assert_eq!((&target.host, target.port), (&plain.targets[0].host, plain.targets[0].port));
    assert_eq!(more.plan.scenarios, plain.scenarios);
    let elsewhere = vec![("target".to_owned(), "https://other".to_owned())];
    let elsewhere = QuickPlan { url: "https://h?a".to_owned(), insecure: true, overrides: elsewhere, ..quick() };
    let plan = elsewhere.load().unwrap().plan;
    assert!(plan.targets[0].tls.insecure && plan.targets[0].host == "other");
    assert_eq!(plan.scenarios[0].steps[0].path.as_literal().unwrap(), "/?a".as_bytes());
    assert_eq!(load(&elsewhere.source()).unwrap().plan, plan);
}

#[test]
fn binary_data_is_sent_as_it_is() {
    let quick = QuickPlan {
        data: Some(Bytes::from_static(&[0, 255, 1])),
        rate: Some("5/s".to_owned()),
        users: None,
        ..quick()
    };
    let plan = quick.load().unwrap().plan;
    assert_eq!(plan.scenarios[0].steps[0].body, BodyTemplate::Bytes(Bytes::from_static(&[0, 255, 1])));
    assert_eq!(load(&quick.source()).unwrap().plan, plan);
}

#[test]
fn problems_name_the_flag() {
    let quick = QuickPlan {
        rate: Some("500".to_owned()),
        users: None,
        duration: Some("30".to_owned()),
        headers: vec!["bad header: x".to_owned()],
        data: Some("{{$nope}}".into()),
        slos: vec!["p99 < 1s".to_owned()],
        ..quick()
    };
    let said = quick.load().unwrap_err().to_string();
    insta::assert_snapshot!(said);
    let endless = QuickPlan { url: "h".to_owned(), users: Some("5".to_owned()), ..QuickPlan::default() };
    let said = endless.load().unwrap_err().to_string();
    assert!(said.contains("add `--for 1m`"), "{said}");
    let nothing = QuickPlan { users: None, ..endless };
    let said = nothing.load().unwrap_err().to_string();
    assert!(said.contains("`--rate 100/s`"), "{said}");
}
