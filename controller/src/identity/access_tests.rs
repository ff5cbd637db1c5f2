use super::*;

const NOW: i64 = 1_000;
const OPEN: Trust = Trust::Everyone("this machine");

fn with(holder: Option<Holder>) -> Peer {
    let certificate = holder.map(|holder| Certificate { holder, not_after_unix_s: NOW + 60 });
    Peer { address: None, certificate }
}

fn agent() -> Peer {
    with(Some(Holder::Agent { region: Region::new("azure/eastus").unwrap() }))
}

fn operator_of(role: Role) -> Peer {
    with(Some(Holder::Operator { role, name: "ann".to_owned() }))
}

fn good(role: Role) -> Token {
    Token::Good(Claims { subject: "bob".to_owned(), role })
}

fn asks(trust: Trust, peer: &Peer, token: Token, call: Call<'_>) -> Result<Caller, Denied> {
    admit(trust, peer, token, call, NOW)
}

fn code(asked: Result<Caller, Denied>) -> Code {
    asked.unwrap_err().code
}

#[test]
fn an_agent_joins_and_does_nothing_else_even_with_a_token() {
    let joined = asks(Trust::Certificates, &agent(), Token::NotTaken, Call::Session).unwrap();
    assert_eq!((joined.role, joined.region.unwrap().as_str()), (None, "azure/eastus"));
    for token in [Token::NotTaken, Token::Missing, good(Role::Admin)] {
        for method in ["ListRuns", "SubmitRun", "StopRun"] {
            let asked = asks(Trust::Certificates, &agent(), token.clone(), Call::Operator(method));
            assert_eq!(code(asked), Code::PermissionDenied, "{method}");
        }
    }
}

#[test]
fn an_operator_never_joins_as_an_agent() {
    for role in Role::ALL {
        let asked = asks(Trust::Certificates, &operator_of(role), Token::NotTaken, Call::Session);
        assert_eq!(code(asked), Code::PermissionDenied);
    }
    let asked = asks(Trust::Certificates, &with(None), good(Role::Admin), Call::Session);
    assert_eq!(code(asked), Code::Unauthenticated);
}

#[test]
fn each_role_does_what_it_may_and_no_more() {
    let may =
        |role, method| asks(Trust::Certificates, &operator_of(role), Token::NotTaken, Call::Operator(method)).is_ok();
    for method in ["ListAgents", "ListRuns", "WatchRun", "GetResult"] {
        assert!(Role::ALL.into_iter().all(|role| may(role, method)), "{method}");
    }
    for method in ["SubmitRun", "StopRun"] {
        assert_eq!(Role::ALL.map(|role| may(role, method)), [false, true, true], "{method}");
    }
    assert_eq!(Role::ALL.map(|role| may(role, "SomethingNew")), [false, false, true]);
}

#[test]
fn a_token_says_who_calls_before_a_certificate_does() {
    let asked = asks(Trust::Certificates, &operator_of(Role::Admin), good(Role::Viewer), Call::Operator("StopRun"));
    assert_eq!(code(asked), Code::PermissionDenied);
    let asked = asks(Trust::Certificates, &with(None), good(Role::Operator), Call::Operator("StopRun")).unwrap();
    assert_eq!((asked.who.as_str(), asked.role), ("jwt:bob", Some(Role::Operator)));
    let bad = Token::Bad("it has expired".to_owned());
    let asked = asks(Trust::Certificates, &operator_of(Role::Admin), bad, Call::Operator("ListRuns"));
    assert_eq!(code(asked), Code::Unauthenticated);
}

#[test]
fn on_this_machine_everyone_is_trusted_unless_tokens_are_wanted() {
    let asked = asks(OPEN, &with(None), Token::NotTaken, Call::Operator("StopRun")).unwrap();
    assert_eq!((asked.who.as_str(), asked.role), ("this machine", Some(Role::Admin)));
    assert!(asks(OPEN, &with(None), Token::NotTaken, Call::Session).is_ok());
    let asked = asks(OPEN, &with(None), Token::Missing, Call::Operator("ListRuns"));
    assert_eq!(code(asked), Code::Unauthenticated);
}

#[test]
fn without_certificate_and_token_nobody_calls() {
    for token in [Token::NotTaken, Token::Missing] {
        for call in [Call::Session, Call::Operator("ListRuns")] {
            assert_eq!(code(asks(Trust::Certificates, &with(None), token.clone(), call)), Code::Unauthenticated);
        }
    }
}

#[test]
fn a_certificate_without_a_role_and_one_that_expired_meanwhile_are_refused() {
    let nobody = with(Some(Holder::Nobody { why: "x".to_owned() }));
    for call in [Call::Session, Call::Operator("ListRuns")] {
        assert_eq!(code(asks(Trust::Certificates, &nobody, Token::NotTaken, call)), Code::PermissionDenied);
        let later = admit(Trust::Certificates, &agent(), Token::NotTaken, call, NOW + 61);
        assert_eq!(code(later), Code::Unauthenticated);
    }
}

#[test]
fn the_region_of_a_certificate_is_the_only_one() {
    let region = Region::new("azure/eastus").unwrap();
    assert_eq!(wrong_region(Some(&region), "azure/eastus"), None);
    assert_eq!(wrong_region(None, "anywhere"), None);
    assert!(wrong_region(Some(&region), "aws/us-east-1").unwrap().contains("azure/eastus"));
}
