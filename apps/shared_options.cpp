// What each shared option is called, and what is said of it.
#include "apps/shared_options.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>

#include "core/text.h"

namespace espalier::apps {

CLI::Validator finite(double low, double high) {
  const std::string range = high < std::numeric_limits<double>::max() ? fmt::format("from {} to {}", low, high)
                                                                      : fmt::format("of at least {}", low);
  const auto check = [=](const std::string& text) -> std::string {
    const auto value = core::parse_number(text);
    return value && *value >= low && *value <= high ? "" : fmt::format("expected a number {}, got '{}'", range, text);
  };
  return {check, range};
}

CLI::Validator not_empty() {
  const auto check = [](const std::string& text) -> std::string {
    return text.empty() ? "expected a name, got ''" : "";
  };
  return {check, ""};
}

void add_inputs(CLI::App& app, InputOptions& o) {
  CLI::Option* forest =
      app.add_option("--forest", o.forests, "forest snapshots (JSON lines) or a forest/1 document; - is stdin");
  app.add_option("--snapshot", o.snapshot, "take this snapshot of each file; all otherwise")->needs(forest);
  CLI::Option* trace = app.add_option("--trace", o.traces, "Mooncake request trace, replayed into running batches");
  app.add_option("--tree", o.trees, "tree notation: nodes a level | tokens a node, e.g. '1,64|8192,256'");
  app.add_option("--family", o.families, "generated forest, e.g. doc_qa:docs=4,questions=16");
  app.add_option("--suite", o.suites, "shapes of a published benchmark, e.g. pat20, or one of them: pat20/03");
  app.add_option("--block-table", o.block_tables, "paged block table (JSON lines)");
  const auto replay = [&](const char* name, auto& value, const char* help) {
    app.add_option(name, value, help)->needs(trace)->capture_default_str();
  };
  replay("--running", o.replay.running, "replay: requests running at once");
  replay("--order", o.order, "replay: arrival, or prefix (offline batch)");
  replay("--sort-window", o.replay.sort_window, "replay: arrivals sorted together; 0 is all");
  replay("--instances", o.replay.instances, "replay: servers that share the load");
  replay("--routing", o.routing, "replay: random or cache-aware");
  replay("--samples", o.replay.samples, "replay: snapshots taken");
  app.add_option("--page-size", o.page_size,
                 "KV page in tokens; shared lengths are floored to whole pages [1, or the input's own]");
  app.add_option("--seed", o.seed, "seed of everything random")
      ->check(CLI::Range(std::uint64_t{0}, kMostSeed))
      ->capture_default_str();
}

void add_heads(CLI::App& app, HeadOptions& o) {
  app.add_option("--heads", o.heads, "query/KV/dim, e.g. 32/8/128; latent attention 128/1/576:512");
  app.add_option("--model", o.model, "heads and layers of a model, e.g. llama3-8b");
  app.add_option("--dtype", o.dtype, "KV type: bf16, fp16, fp8_e4m3");
}

void add_device(CLI::App& app, std::vector<std::string>& devices) {
  // One value an occurrence, so that a plan file may follow.
  app.add_option("--device", devices, "device, FILE.json, or either with :field=value,…")->allow_extra_args(false);
}

}  // namespace espalier::apps
