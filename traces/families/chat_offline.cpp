// chat_offline: chat prompts run as an offline batch in prefix order. Conversations that went on in several ways stand
// beside each other: deep chains of turns from which requests branch off, most shared nodes read by 2 to 4.
#include <algorithm>
#include <cmath>

#include "traces/families/building.h"

namespace espalier::traces {
namespace {

constexpr std::int64_t kDeepest = 20;

/// Half of the groups are pairs, 30 % have 3 or 4 members, the rest 5 to 16.
std::int64_t draw_group(core::Rng& rng) {
  const double u = rng.uniform();
  if (u < 0.5) return 2;
  return u < 0.8 ? rng.integer(3, 4) : rng.integer(5, 16);
}

struct Lengths {
  LengthRange shared, tail;
};

/// A chain of turns under `parent`; at each turn a member of the group leaves it for a turn of its own.
void add_group(ForestSource& source, core::Rng& rng, const Lengths& lengths, std::int64_t parent,
               std::int64_t members) {
  // Chance that a member leaves at a turn, so that groups keep together for most of a chain of mean depth 2.
  constexpr double kLeave = 0.25;
  std::int64_t depth = std::min(1 + rng.geometric(0.5), kDeepest);
  std::int64_t at = parent;
  for (; members > 1 && depth > 0; --depth) {
    at = add_node(source, at, draw_length(rng, lengths.shared));
    std::int64_t leaving = 0;
    for (std::int64_t m = 0; m < members; ++m) leaving += rng.chance(kLeave) ? 1 : 0;
    if (depth == 1) leaving = members;
    for (std::int64_t m = 0; m < leaving; ++m) add_tail(source, at, draw_length(rng, lengths.tail));
    members -= leaving;
  }
  if (members == 1) add_tail(source, at, draw_length(rng, lengths.tail));
}

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t longest = whole_option(options, "longest");
  const Lengths lengths = {{real_option(options, "shared"), 1.3, 1, longest},
                           {real_option(options, "tail"), 1.5, 1, longest}};
  const std::int64_t requests = whole_option(options, "requests");
  auto grouped = static_cast<std::int64_t>(std::round(real_option(options, "grouped") * static_cast<double>(requests)));
  core::Rng rng(seed);
  ForestSource source;
  const std::int64_t root = add_node(source, kNoParent, whole_option(options, "root"));
  std::int64_t alone = requests - grouped;
  while (grouped > 1) {
    const std::int64_t members = std::min(draw_group(rng), grouped);
    add_group(source, rng, lengths, root, members);
    grouped -= members;
  }
  for (alone += grouped; alone > 0; --alone) add_tail(source, root, draw_length(rng, lengths.tail));
  contract_chains(source);
  return make_forest(source);
}

}  // namespace

Family chat_offline_family() {
  return {"chat_offline",
          "chat prompts in prefix order: chains of turns that requests branch off from; dedupe 1.3-2.0",
          {{"requests", 256, 1, 65536, "running requests"},
           {"grouped", 0.5, 0, 1, "share of requests that have a relative below the root", OptionKind::real},
           {"root", 512, 0, kLongestOption, "tokens all share"},
           {"shared", 2000, 1, kLongestOption, "median tokens of a shared turn"},
           {"tail", 1500, 1, kLongestOption, "median private tokens"},
           {"longest", 65536, 1, kLongestOption, "turns and tails are clipped here"}},
          generate};
}

}  // namespace espalier::traces
