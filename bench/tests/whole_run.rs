//! The whole benchmark in small: every run must end as the others do, and the report must say on what it was made.

use bench::{
    arguments::{Part, Settings},
    run::run,
};

#[test]
fn all_runs_end_alike_and_the_report_says_what_they_were() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let settings = Settings {
        part: Part::Peers,
        rounds: 1,
        commands: 3_000,
        book_commands: 3_000,
        items: 3_000,
        deep_orders: 2_000,
        deep_accounts: 2_000,
        memory_orders: 2_000,
        memory_accounts: 500,
        durable_seconds: 0.2,
        latency_seconds: 1,
        directory: directory.path().to_owned(),
        json: None,
    };
    let report = run(&settings).expect("every run can be made");
    assert_eq!(report.failures, Vec::<String>::new());

    let text = report.to_string();
    assert!(text.contains("durability sync") && text.contains("commit"), "{text}");

    let json = serde_json::to_value(&report).expect("a report is JSON");
    for field in ["processor", "cores", "kernel"] {
        assert!(!json["machine"][field].is_null(), "machine.{field} in {json}");
    }
    for field in ["commit", "load_average_before", "load_average_after", "rounds"] {
        assert!(!json[field].is_null(), "{field} in {json}");
    }
    let sections = json["sections"].as_array().expect("a list of sections");
    let titles: Vec<_> = sections.iter().map(|section| section["title"].as_str().unwrap_or_default()).collect();
    for title in [
        "books, exchange-core",
        "books, deep",
        "books, equity 60 %",
        "books, modify-heavy",
        "exchange in line",
        "exchange, shallow",
        "what recording latency costs, and accounts that always overdraw",
        "memory",
    ] {
        assert!(titles.contains(&title), "{title} in {titles:?}");
    }
    let figures = sections.iter().filter(|section| section["title"] == "books, exchange-core");
    let figures = figures.flat_map(|section| section["figures"].as_array().expect("a list of figures"));
    let ladder = figures.filter(|figure| figure["name"] == "plain ladder").collect::<Vec<_>>();
    assert!(matches!(&ladder[..], [ladder] if ladder["outcome"] == "right trades"), "{ladder:?}");
    for section in sections {
        assert!(section["conditions"][0].is_string() && section["unit"].is_string(), "{section}");
        for figure in section["figures"].as_array().expect("a list of figures") {
            for field in ["name", "setting", "outcome"] {
                assert!(figure[field].is_string(), "{field} in {figure}");
            }
            let samples = figure["samples"].as_array().expect("a list of samples");
            assert_eq!(samples.is_empty(), figure["median"] == 0.0, "{figure}");
        }
    }
    let pipelines = sections.iter().find(|section| section["title"] == "exchange, shallow").expect("it is there");
    let durable = &pipelines["figures"][1];
    assert!(durable["setting"].as_str().is_some_and(|setting| setting.contains("durability sync")), "{durable}");
    assert!(durable["ratio"]["median"].is_number(), "{durable}");

    assert_eq!(json["agree"], true);
    assert!(json["durable_mps"].is_number(), "durable_mps in {json}");
    for (group, name) in [
        ("ratios", "spsc_single_vs_rtrb"),
        ("ratios", "spsc_batch64_vs_rtrb"),
        ("ratios", "spsc_batch64_vs_ringbuf"),
        ("ratios", "pingpong_vs_rtrb"),
        ("ratios", "fused3_vs_disruptor"),
        ("ratios", "histograms_on_vs_off"),
        ("ratios", "book_1k_vs_best_rust"),
        ("ratios", "book_100k_vs_best_rust"),
        ("ratios", "replay_vs_inline"),
        ("inline_mps", "exchange_core"),
        ("inline_mps", "deep"),
        ("inline_mps", "equity_worst"),
    ] {
        assert!(json[group][name].is_number(), "{group}.{name} in {json}");
    }
    for target in json["targets"].as_array().expect("a list of targets") {
        assert!(target["claim"].is_string() && target["met"].is_boolean(), "{target}");
    }

    let left = std::fs::read_dir(directory.path()).expect("the directory can be read").count();
    assert_eq!(left, 0, "journals are removed again");
}
