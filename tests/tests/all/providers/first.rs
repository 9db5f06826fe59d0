use super::*;

#[test]
fn an_agent_asks_and_is_answered_counted_and_recorded() -> Result<()> {
    let provider = Provider::start()?;
    let (home, _daemon) = stage(&[&provider], "", &json!({}), "")?;
    let unknown = home.component("a")?;
    assert_eq!((&unknown["kind"], &unknown["health"]), (&"provider".into(), &"unknown".into()), "{unknown}");
    assert_eq!(call(&home, "ask", json!({"prompt": "hello"}))?, "you said: hello");

    let asked = &provider.asked()[0];
    assert_eq!(asked.line, "POST /v1/chat/completions");
    assert!(asked.head.contains(&format!("authorization: Bearer {KEY}")), "{}", asked.head);
    assert_eq!(asked.body["model"], "m");

    let recorded = &calls(&home, 1)?[0];
    // 1000 tokens at 1 USD and 500 at 2 USD per million.
    for (key, value) in [
        ("agent", json!("misbehaving")),
        ("capability", json!("ask")),
        ("provider", json!("a")),
        ("model", json!("m")),
        ("tokens_in", json!(1000)),
        ("tokens_out", json!(500)),
        ("cost", json!(2000)),
        ("outcome", json!("ok")),
    ] {
        assert_eq!(recorded[key], value, "{key}: {recorded}");
    }
    let budgets = home.json(&["budget", "--json"])?["budgets"].clone();
    assert_eq!((&budgets[0]["used"], &budgets[0]["reserved"]), (&json!(1.0), &json!(0.0)), "{budgets}");
    assert_eq!((&budgets[1]["used"], &budgets[1]["unit"]), (&json!(0.002), &json!("usd")), "{budgets}");
    let shown = home.ok(&["budget", "-n", "5"])?;
    assert!(
        shown.contains("all agents · all providers · day · usd") && shown.contains("1000 + 500"),
        "{shown}"
    );

    let well = home.component("a")?;
    assert_eq!((&well["health"], &well["state"]), (&"ok".into(), &"ready".into()), "{well}");
    for proof in ["reachable", "authenticated", "functional"] {
        assert_eq!(well["provider"][proof]["holds"], true, "{well}");
        assert!(well["provider"][proof]["at"].is_string(), "{well}");
    }
    keeps_its_secret(&home)
}

#[test]
fn a_conversation_keeps_its_turns_and_roles() -> Result<()> {
    let provider = Provider::start()?;
    let limits =
        ("context-limits.json", json!({"models": {"m": {"context": 200, "answer": 50}}}).to_string());
    let files = [("providers/a.toml", provider.described("")), limits];
    let (home, _daemon) = with(&files, "")?;
    let turns = json!({"messages": [
        {"role": "system", "text": "be brief"}, {"role": "user", "text": "x".repeat(500)},
        {"role": "assistant", "text": "old"}, {"role": "user", "text": "new"},
    ], "max_tokens": 7});
    assert_eq!(call(&home, "ask", turns)?, "you said: new");
    let body = provider.asked()[0].body.clone();
    let sent: Vec<_> =
        body["messages"].as_array().context("turns")?.iter().map(|turn| turn["content"].clone()).collect();
    assert_eq!(sent, ["be brief", "old", "new"]);
    assert_eq!(body["max_tokens"], 7);
    for (payload, why) in [
        (json!({"prompt": "x".repeat(1000)}), "shorten it"),
        (json!({}), "there is no question"),
        (json!({"prompt": "x", "model": "other"}), "has the model `other`"),
        (json!({"messages": [{"role": "root", "text": "x"}]}), "is no role"),
    ] {
        let error = call(&home, "ask", payload)?;
        assert_eq!(error["kind"], "invalid", "{error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(why)), "{error}");
    }
    assert_eq!(provider.asked().len(), 1);
    Ok(())
}

#[test]
fn a_search_goes_to_brave_and_then_to_perplexity() -> Result<()> {
    let (brave, perplexity) = (Provider::start()?, Provider::start()?);
    let described = |kind: &str, provider: &Provider| {
        format!("kind = '{kind}'\nbase_url = '{}'\nkey = 'TEST_API_KEY'\nrequest = 0.005\n", provider.url())
    };
    let files = [
        ("providers/brave.toml", described("brave", &brave)),
        ("providers/perplexity.toml", described("perplexity", &perplexity)),
        ("failover.json", json!({"search": ["brave", "perplexity"]}).to_string()),
    ];
    let (home, _daemon) = with(&files, "")?;
    let hits = json!([{"title": "A title", "url": "https://example.org/a", "snippet": "found it"}]);
    assert_eq!(call(&home, "search", json!({"query": "a b", "limit": 3}))?, hits);
    let asked = &brave.asked()[0];
    assert_eq!(asked.line, "GET /v1/web/search?q=a+b&count=3");
    assert!(asked.head.contains(&format!("x-subscription-token: {KEY}")), "{}", asked.head);
    brave.next([openclaw_tests::provider::Reply::refused(503)]);
    assert_eq!(call(&home, "search", json!({"query": "c"}))?, hits);
    assert_eq!(perplexity.asked()[0].body, json!({"query": "c", "max_results": 10}));
    let recorded = calls(&home, 3)?;
    let told: Vec<_> =
        recorded.iter().rev().map(|call| (call["provider"].clone(), call["cost"].clone())).collect();
    assert_eq!(
        told,
        [("brave".into(), 5000.into()), ("brave".into(), 0.into()), ("perplexity".into(), 5000.into())]
    );
    assert_eq!(call(&home, "ask", json!({"prompt": "x"}))?["kind"], "not_configured");
    keeps_its_secret(&home)
}

#[test]
fn the_front_desk_answers_a_question_and_says_why_it_cannot() -> Result<()> {
    let provider = Provider::start()?;
    let milkbot = "[agents.milkbot]\ngrants = ['memory', 'task', 'supervisor.status', 'ask']\n";
    let (home, _daemon) = stage(&[&provider], "", &json!({}), milkbot)?;
    home.install("milkbot", "milkbot")?;
    home.ok(&["agents", "start", "milkbot"])?;
    home.until("milkbot", "ready")?;
    let said = reply(&home, "milkbot", "/ask what is a monad?")?;
    assert!(said.starts_with("you said: ") && said.contains("what is a monad?"), "{said}");
    provider.next([openclaw_tests::provider::Reply::refused(401)]);
    let said = reply(&home, "milkbot", "/ask and now?")?;
    assert!(said.contains("misconfigured") && said.contains("check TEST_API_KEY in .env"), "{said}");
    keeps_its_secret(&home)
}
