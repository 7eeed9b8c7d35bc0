// tool_agent: requests behind a few long tool prefixes with short answers, beside ordinary chat. Tool requests are many
// among arrivals but few among decode slots, because they generate little: `share` counts slots (0.04 as served, 1
// filtered).
#include <algorithm>
#include <cmath>

#include "traces/families/building.h"

namespace espalier::traces {
namespace {

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t requests = whole_option(options, "requests");
  const std::int64_t prefix = whole_option(options, "prefix");
  const std::int64_t output = whole_option(options, "output");
  const LengthRange tail = {real_option(options, "tail"), 0.6, 1, 131072};
  const LengthRange chat = {real_option(options, "chat"), 1.3, 1, 131072};
  const ZipfTable popularity(whole_option(options, "tools"), 1.0);
  const auto calls =
      static_cast<std::int64_t>(std::round(real_option(options, "share") * static_cast<double>(requests)));
  core::Rng rng(seed);
  ForestSource source;
  // Tools without a caller and a chat root without chats are dropped by make_forest.
  for (std::int64_t t = 0; t < popularity.ranks(); ++t) add_node(source, kNoParent, draw_uniform(rng, 0.2, prefix));
  const std::int64_t root = add_node(source, kNoParent, whole_option(options, "root"));
  for (std::int64_t c = 0; c < calls; ++c) {
    const std::int64_t tool = popularity.draw(rng);
    const std::int64_t asked = draw_length(rng, tail);
    const std::int64_t answer = output == 0 ? 0 : rng.integer(std::min<std::int64_t>(3, output), output);
    add_tail(source, tool, asked + draw_generated(rng, answer));
  }
  for (std::int64_t c = calls; c < requests; ++c) add_tail(source, root, draw_length(rng, chat));
  return make_forest(source);
}

}  // namespace

Family tool_agent_family() {
  return {"tool_agent",
          "tool prefixes with short answers beside chat; dedupe 1.05 (share=0.04, as served) to 9 (share=1)",
          {{"requests", 64, 1, 65536, "running requests"},
           {"share", 0.5, 0, 1, "share of running requests that call a tool", OptionKind::real},
           {"tools", 2, 1, 256, "tool prefixes, each half, a third, … as popular as the first"},
           {"prefix", 12000, 1, kLongestOption, "longest tool prefix; uniform from a fifth of it"},
           {"tail", 570, 1, kLongestOption, "median private tokens of a tool request"},
           {"output", 40, 0, kLongestOption, "longest output of a tool request; uniform from 3"},
           {"root", 512, 0, kLongestOption, "tokens all chats share"},
           {"chat", 7000, 1, kLongestOption, "median private tokens of a chat"}},
          generate};
}

}  // namespace espalier::traces
