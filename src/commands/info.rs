//! INFO: the row and the handler; the text is built in [`crate::engine::info`].

use crate::engine::{
    Argument, CommandError, CommandSpec, Group, Handler, ServerContext, acl, flags, info as page,
};
use crate::resp::Args;

/// The group's rows.
pub const COMMANDS: &[CommandSpec] = &[CommandSpec {
    name: "info",
    summary: "Returns figures and facts about the server.",
    group: Group::Server,
    arity: -1,
    flags: flags::LOADING | flags::STALE,
    acl: acl::DANGEROUS,
    tips: &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ],
    history: &[("7.0.0", "Several sections in one call.")],
    arguments: &[Argument::string("section").multiple().optional()],
    handler: Handler::Server(info),
    ..CommandSpec::DEFAULT
}];

fn info(context: &mut ServerContext<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let names: Vec<&[u8]> = args.iter().skip(1).collect();
    let used = context.host.used_memory();
    let figures = context.host.loop_figures();
    let recorder = context.host.recorder();
    context.state.keyspace.fold_stats();
    // The cron samples the peak; it must not be seen below what is used now.
    let peak = &mut context.state.observe.stats.peak_memory;
    *peak = used.max(*peak);
    let text = page::build(context.state, figures, recorder, used, &names);
    context.reply().verbatim("txt", text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{self, Harness};

    /// The reply to a command, as text.
    fn text(harness: &mut Harness, line: &str) -> String {
        String::from_utf8(harness.line(line).as_bytes().expect("a text").to_vec()).expect("UTF-8")
    }
    fn titles(text: &str) -> Vec<&str> {
        text.split("\r\n")
            .filter_map(|line| line.strip_prefix("# "))
            .collect()
    }

    #[test]
    fn sections_are_chosen_by_name() {
        let mut harness = Harness::new();
        let default = [
            "Server",
            "Clients",
            "Memory",
            "Persistence",
            "Threads",
            "Stats",
            "Replication",
            "CPU",
            "Modules",
            "Errorstats",
            "Cluster",
            "Keyspace",
            "Keysizes",
        ];
        assert_eq!(titles(&text(&mut harness, "INFO")), default);
        assert_eq!(titles(&text(&mut harness, "INFO default nothing")), default);
        assert_eq!(
            titles(&text(&mut harness, "INFO cpu CLIENTS cpu")),
            ["Clients", "CPU"]
        );
        let all = text(&mut harness, "INFO all");
        assert_eq!(titles(&all).len(), default.len() + 5);
        assert_eq!(titles(&text(&mut harness, "INFO everything")), titles(&all));
        assert_eq!(text(&mut harness, "INFO nothing"), "");
        assert_eq!(
            titles(&text(&mut harness, "INFO default commandstats")).len(),
            default.len() + 1
        );
    }

    #[test]
    fn every_line_is_a_field_or_a_title_and_sections_are_apart() {
        let mut harness = Harness::new();
        harness.line("SET a 1");
        harness.line("GET a");
        harness.line("NOSUCH");
        let all = text(&mut harness, "INFO all");
        for line in all.split("\r\n").filter(|line| !line.is_empty()) {
            assert!(line.starts_with("# ") || line.contains(':'), "{line}");
        }
        assert!(all.contains("\r\n\r\n# Clients\r\n"));
        assert!(all.contains("redis_version:8.0.6\r\n"));
        assert!(all.contains("errorstat_ERR:count=1\r\n"));
        assert!(all.contains("db0:keys=1,expires=0,avg_ttl=0,subexpiry=0\r\n"));
        assert!(all.contains(
            "cmdstat_set:calls=1,usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=0\r\n"
        ));
        assert!(all.contains("latency_percentiles_usec_set:p50="), "{all}");
        assert!(all.contains("keyspace_hits:1\r\n"));
    }

    #[test]
    fn sizes_of_keys_follow_every_change() {
        let mut harness = Harness::new();
        let long = "x".repeat(5000);
        let long = format!("SET l {long}");
        for (line, expected) in [
            ("SET s x", "db0_distrib_strings_sizes:1=1"),
            ("SET s 12345", "db0_distrib_strings_sizes:4=1"),
            ("APPEND s 678", "db0_distrib_strings_sizes:8=1"),
            ("APPEND e ", "db0_distrib_strings_sizes:0=1,8=1"),
            ("DEL e", "db0_distrib_strings_sizes:8=1"),
            ("SETRANGE s 70 x", "db0_distrib_strings_sizes:64=1"),
            ("EXPIRE s 100", "db0_distrib_strings_sizes:64=1"),
            (&long, "db0_distrib_strings_sizes:64=1,4K=1"),
            ("EXPIRE l 100", "db0_distrib_strings_sizes:64=1,4K=1"),
            ("SETRANGE l 9000 x", "db0_distrib_strings_sizes:64=1,8K=1"),
            ("DEL s", "db0_distrib_strings_sizes:8K=1"),
            ("RPUSH l x", "db0_distrib_strings_sizes:8K=1"),
            ("COPY l m", "db0_distrib_strings_sizes:8K=2"),
            ("FLUSHALL", ""),
            ("RPUSH l 1 2 3", "db0_distrib_lists_items:2=1"),
            ("RPUSH m 1", "db0_distrib_lists_items:1=1,2=1"),
            ("RPUSH l 4", "db0_distrib_lists_items:1=1,4=1"),
            ("EXPIRE l 100", "db0_distrib_lists_items:1=1,4=1"),
            ("LPOP l", "db0_distrib_lists_items:1=1,2=1"),
            ("PERSIST l", "db0_distrib_lists_items:1=1,2=1"),
            ("RENAME l k", "db0_distrib_lists_items:1=1,2=1"),
            ("LPOP k 3", "db0_distrib_lists_items:1=1"),
            ("SET m x", "db0_distrib_strings_sizes:1=1"),
            ("DEL m", ""),
            ("SADD s a b", "db0_distrib_sets_items:2=1"),
            (
                "ZADD z 1 a",
                "db0_distrib_sets_items:2=1 db0_distrib_zsets_items:1=1",
            ),
            (
                "SMOVE s t a",
                "db0_distrib_sets_items:1=2 db0_distrib_zsets_items:1=1",
            ),
            (
                "ZUNIONSTORE s 2 t z",
                "db0_distrib_sets_items:1=1 db0_distrib_zsets_items:1=2",
            ),
            (
                "MOVE t 1",
                "db0_distrib_zsets_items:1=2 db1_distrib_sets_items:1=1",
            ),
            (
                "SWAPDB 0 1",
                "db0_distrib_sets_items:1=1 db1_distrib_zsets_items:1=2",
            ),
            ("FLUSHALL", ""),
            ("HSET h a 1 b 2", "db0_distrib_hashes_items:2=1"),
            ("HDEL h a", "db0_distrib_hashes_items:1=1"),
            ("XADD x 1-1 a b", "db0_distrib_hashes_items:1=1"),
            ("HDEL h b", ""),
        ] {
            harness.line(line);
            let page = text(&mut harness, "INFO keysizes");
            let lines: Vec<&str> = page.split("\r\n").skip(1).collect();
            assert_eq!(lines.join(" ").trim(), expected, "{line}");
        }
    }

    #[test]
    fn the_peak_is_never_below_what_is_used() {
        let mut harness = Harness::new();
        harness.host.used_memory = 5 << 20;
        assert!(text(&mut harness, "INFO memory").contains("used_memory_peak_human:5.00M\r\n"));
        harness.host.used_memory = 1 << 20;
        let later = text(&mut harness, "INFO memory");
        assert!(later.contains("used_memory_human:1.00M\r\n"));
        assert!(
            later.contains("used_memory_peak_perc:20.00%\r\n"),
            "{later}"
        );
    }

    #[test]
    fn resp3_gets_a_verbatim_text() {
        let mut harness = Harness::new();
        harness.resp3();
        let reply = testing::text(&harness.line("INFO cluster"));
        assert!(
            reply.contains("txt") && reply.contains("cluster_enabled"),
            "{reply}"
        );
    }
}
