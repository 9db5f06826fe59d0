//! Models that think before they answer: what that costs, and that it is no fault.

use openclaw_tests::provider::Reply;

use super::*;

/// An answer that ends within its thoughts, and what it took.
fn thoughts() -> Reply {
    let choice = json!({"message": {"content": "<think>Let me see"}, "finish_reason": "length"});
    let usage = json!({"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 5010});
    Reply::body(json!({"choices": [choice], "usage": usage}).to_string())
}

fn proved(home: &Home, provider: &str) -> Result<[Value; 3]> {
    let shown = home.component(provider)?;
    let holds = &shown["provider"]["functional"]["holds"];
    Ok([shown["breaker"]["state"].clone(), shown["breaker"]["failures"].clone(), holds.clone()])
}

#[test]
fn what_was_thought_is_paid_for_and_who_is_not_let_think_is_told_so() -> Result<()> {
    let (first, second) = (Provider::start()?, Provider::start()?);
    let rules = json!({"breaker": {"min_calls": 1}});
    let (home, _daemon) = stage(&[&first, &second], "", &rules, "")?;
    first.always(Some(thoughts()));
    second.always(Some(thoughts()));
    for _ in 0..3 {
        let error = call(&home, "ask", json!({"prompt": "hello", "max_tokens": 1}))?;
        assert_eq!(error["kind"], "invalid", "{error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains("max_tokens")), "{error}");
    }
    // A token read costs a millionth of a USD, one written two, said or only thought.
    let ended = calls(&home, 6)?;
    let known = ended.iter().all(|call| call["outcome"] == "cut_off" && call["cost"] == 1000 + 2 * 4010);
    assert!(known, "{ended:#?}");
    home.ok(&["health", "--probe", "--ask"])?;
    for provider in ["a", "b"] {
        assert_eq!(proved(&home, provider)?, [json!("closed"), json!(0), json!(true)], "{provider}");
    }
    Ok(())
}

#[test]
fn an_empty_answer_is_a_fault_only_where_another_one_had_something_to_say() -> Result<()> {
    let (first, second) = (Provider::start()?, Provider::start()?);
    let rules = json!({"rounds": 1, "breaker": {"min_calls": 1, "open": "10m"}});
    let (home, _daemon) = stage(&[&first, &second], "", &rules, "")?;
    first.always(Some(Reply::says("")));
    second.always(Some(Reply::says("")));
    for _ in 0..3 {
        assert_eq!(call(&home, "ask", json!({"prompt": "say nothing"}))?["kind"], "failed");
    }
    assert_eq!(proved(&home, "a")?, [json!("closed"), json!(0), Value::Null]);
    second.always(None);
    assert_eq!(call(&home, "ask", json!({"prompt": "hello"}))?, "you said: hello");
    assert_eq!(proved(&home, "a")?[0], "open");
    assert_eq!(proved(&home, "b")?, [json!("closed"), json!(0), json!(true)]);
    Ok(())
}

/// Its own good answer in the next round disproves it; and of what a probe asks for, nothing is no answer.
#[test]
fn an_empty_answer_of_the_only_one_is_told_by_a_probe_and_forgotten_with_the_next() -> Result<()> {
    let provider = Provider::start()?;
    let (home, _daemon) = stage(&[&provider], "", &json!({"breaker": {"min_calls": 1}}), "")?;
    provider.next([Reply::says("")]);
    assert_eq!(call(&home, "ask", json!({"prompt": "hello"}))?, "you said: hello");
    assert_eq!(proved(&home, "a")?, [json!("closed"), json!(0), json!(true)]);
    provider.always(Some(Reply::says("")));
    assert!(!home.cli(&["health", "--probe", "--ask", "--json"])?.stdout.is_empty());
    assert_eq!(proved(&home, "a")?, [json!("closed"), json!(0), json!(false)]);
    Ok(())
}

#[test]
fn what_went_wrong_behind_a_200_is_what_it_says() -> Result<()> {
    let provider = Provider::start()?;
    let (home, _daemon) = stage(&[&provider], "", &json!({"rounds": 1}), "")?;
    let says = |code: u16| json!({"error": {"code": code, "message": format!("no: {KEY}")}}).to_string();
    for (code, kind) in [(429, "failed"), (402, "not_configured"), (502, "failed")] {
        provider.next([Reply::body(says(code))]);
        let error = call(&home, "ask", json!({"prompt": "hello"}))?;
        let told = error["message"].as_str().is_some_and(|text| text.contains(&format!("{code}: no: ***")));
        assert!(told && error["kind"] == kind, "{error}");
    }
    keeps_its_secret(&home)
}
