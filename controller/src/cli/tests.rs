use super::*;
use clap::CommandFactory;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_explains_itself_in_80_columns() {
    let mut cli = Cli::command().term_width(80);
    cli.build();
    let mut all = format!("{}\n", cli.render_long_help());
    for command in cli.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        let help = command.render_long_help().to_string();
        all += &format!("---- {}\n{help}\n", command.get_name());
    }
    // Versions of clap differ in trailing blanks of empty lines.
    let all: String = all.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    let widest = all.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{widest:?}");
    insta::assert_snapshot!("help", all);
}

#[test]
fn flags_of_a_run_are_taken_as_typed() {
    let line =
        "squall run http://h/ --rate 10/s --for 5s -H A:b -H C:d --region azure/eastus --region local --set a=b=c";
    let Command::Run(args) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!("not a run") };
    let text = format!("{args:?}");
    assert!(text.contains("(\"a\", \"b=c\")") && text.contains("azure/eastus"), "{text}");
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    for line in [
        "squall run p.yaml --controller http://h --region local",
        "squall run p.yaml --simulate --target http://h",
        "squall run p.yaml --out d --no-out",
        "squall run p.yaml --set novalue",
        "squall run p.yaml --agents 0",
        "squall run p.yaml --region Not_A_Region!",
        "squall serve --listen nowhere",
        "squall",
    ] {
        let error = Cli::try_parse_from(line.split(' ')).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn quick_flags_do_not_go_with_a_plan_file() {
    let quick = plan_args::Quick { users: Some("5".into()), ..plan_args::Quick::default() };
    let failure = plan_args::bundle("plan.yaml", &plan_args::Overrides::default(), &quick).unwrap_err();
    assert!(failure.code == 2 && failure.text.contains("--set"), "{}", failure.text);
}

#[test]
fn check_takes_a_url_with_the_flags_of_run() {
    for command in ["check", "run"] {
        let line = format!("squall {command} https://127.0.0.1:1/ --rate 5/s --for 1s --insecure --http2");
        assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
    }
    let quick = plan_args::Quick {
        rate: Some("5/s".into()),
        duration: Some("1s".into()),
        insecure: true,
        ..Default::default()
    };
    let bundle = plan_args::bundle("https://127.0.0.1:1/", &plan_args::Overrides::default(), &quick).unwrap();
    assert!(crate::plan_source::load(&bundle).unwrap().plan.targets[0].tls.insecure);
    let failure = plan_args::bundle("plan.yaml", &plan_args::Overrides::default(), &quick).unwrap_err();
    assert!(failure.code == 2 && failure.text.contains("--set"), "{}", failure.text);
}

#[test]
fn embedded_agents_are_dealt_over_regions() {
    let quick = plan_args::Quick { rate: Some("5/s".into()), duration: Some("1s".into()), ..Default::default() };
    let bundle = plan_args::bundle("http://127.0.0.1:1/", &plan_args::Overrides::default(), &quick).unwrap();
    let plan = crate::plan_source::load(&bundle).unwrap().plan;
    let named: Vec<_> = ["azure/eastus", "local"].iter().map(|name| plan_args::region(name).unwrap()).collect();
    let dealt = plan_args::agent_regions(&plan, Some(3), &named).unwrap();
    assert_eq!(
        dealt.iter().map(|region| region.as_str()).collect::<Vec<_>>(),
        ["azure/eastus", "local", "azure/eastus"]
    );
    assert_eq!(plan_args::agent_regions(&plan, None, &[]).unwrap()[0].as_str(), "local");
}
