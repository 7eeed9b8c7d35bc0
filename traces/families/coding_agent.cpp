// coding_agent: sessions of a coding assistant. A tool block in a few variants (client versions, tool sets), a system
// block behind it, then one long private context a session. Sub-agents run beside the sessions on the same tool and
// system blocks, with contexts of their own: they share nothing else with their parent.
#include <vector>

#include "traces/families/building.h"

namespace espalier::traces {
namespace {

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t sessions = whole_option(options, "sessions");
  const std::int64_t agents = whole_option(options, "agents");
  const std::int64_t tool = whole_option(options, "tool");
  const std::int64_t system = whole_option(options, "system");
  const std::int64_t agent = whole_option(options, "agent");
  const std::int64_t systems = whole_option(options, "systems");
  const LengthRange context = {real_option(options, "context"), real_option(options, "spread"), 1, 900'000};
  const ZipfTable popularity(whole_option(options, "tools"), 1.0);
  core::Rng rng(seed);
  ForestSource source;
  // Variants that no session uses are dropped by make_forest.
  std::vector<std::int64_t> blocks;
  for (std::int64_t t = 0; t < popularity.ranks(); ++t) {
    const std::int64_t root = add_node(source, kNoParent, draw_uniform(rng, 0.6, tool));
    for (std::int64_t s = 0; s < systems; ++s) {
      blocks.push_back(add_node(source, root, draw_uniform(rng, 1.0 / 3.0, system)));
    }
  }
  std::vector<std::int64_t> block_of_session;
  for (std::int64_t s = 0; s < sessions; ++s) {
    const std::int64_t variant = popularity.draw(rng) * systems + rng.integer(0, systems - 1);
    block_of_session.push_back(blocks[static_cast<std::size_t>(variant)]);
    add_tail(source, block_of_session.back(), draw_length(rng, context));
  }
  for (std::int64_t a = 0; a < agents; ++a) {
    const auto parent = static_cast<std::size_t>(rng.integer(0, sessions - 1));
    add_tail(source, block_of_session[parent], draw_uniform(rng, 0.12, agent));
  }
  contract_chains(source);
  return make_forest(source);
}

}  // namespace

Family coding_agent_family() {
  return {"coding_agent",
          "sessions with long private contexts behind a few tool and system blocks; dedupe 1.0-1.15",
          {{"sessions", 64, 1, 8192, "running sessions, one request each"},
           {"tools", 10, 1, 1000, "tool blocks, each half, a third, … as popular as the first"},
           {"tool", 15000, 1, kLongestOption, "longest tool block; uniform from 0.6 of it"},
           {"systems", 2, 1, 64, "system blocks behind each tool block"},
           {"system", 6000, 1, kLongestOption, "longest system block; uniform from a third of it"},
           {"context", 90000, 1, kLongestOption, "median private tokens of a session, clipped at 900000"},
           {"spread", 0.8, 0, 3, "sigma of the logarithm of private lengths", OptionKind::real},
           {"agents", 0, 0, 1024, "sub-agents running beside them, each on the blocks of a random session"},
           {"agent", 100000, 1, kLongestOption, "longest context of a sub-agent; uniform from 0.12 of it"}},
          generate};
}

}  // namespace espalier::traces
