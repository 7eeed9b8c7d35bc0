// one_hot: one giant among small requests. Work that isn't split leaves one processor busy and the rest idle; in the
// shared shape a giant node that all small requests read competes with a giant that one request owns.
#include "traces/families/building.h"

namespace espalier::traces {
namespace {

enum class Shape : std::int64_t { request, shared };

PrefixForest generate(const FamilyOptions& options, std::uint64_t seed) {
  const std::int64_t requests = whole_option(options, "requests");
  const std::int64_t giant = whole_option(options, "giant");
  const std::int64_t small = whole_option(options, "small");
  const auto shape = static_cast<Shape>(whole_option(options, "shape"));
  core::Rng rng(seed);
  ForestSource source;
  add_tail(source, kNoParent, giant);
  const std::int64_t parent = shape == Shape::shared ? add_node(source, kNoParent, giant) : kNoParent;
  for (std::int64_t r = 1; r < requests; ++r) add_tail(source, parent, draw_uniform(rng, 0.25, small));
  return make_forest(source);
}

}  // namespace

Family one_hot_family() {
  return {"one_hot",
          "one giant among small requests; dedupe 1 (shape=shared: about half the requests)",
          {{"requests", 64, 1, 65536, "running requests, the giant included"},
           {"giant", 500000, 1, 1e9, "tokens of the giant"},
           {"small", 2000, 1, kLongestOption, "longest small request; uniform from a quarter of it"},
           {"shape",
            0,
            0,
            1,
            "what the small ones have in common: nothing, or a second giant",
            OptionKind::whole,
            {"request", "shared"}}},
          generate};
}

}  // namespace espalier::traces
