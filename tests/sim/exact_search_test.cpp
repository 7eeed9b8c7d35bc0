// The exact search against an enumerator that rules nothing out, and its bound against the simulator.
#include "sim/exact_search.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <set>

#include "core/error.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "sim/draft_moves.h"
#include "sim/simulator.h"
#include "tests/property/forests.h"

namespace espalier::sim {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const traces::HeadConfig kHeads = traces::parse_heads("8/2/64");

const costmodel::DeviceSpec& tiny_gpu() {
  static const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm:sms=2");
  return device;
}

traces::PrefixForest tiny_forest(std::uint64_t seed, std::int64_t most_nodes, std::int64_t most_requests) {
  core::Rng rng(seed);
  traces::ForestSource source;
  source.name = "tiny " + std::to_string(seed);
  const std::int64_t nodes = rng.integer(1, most_nodes);
  for (std::int64_t n = 0; n < nodes; ++n) {
    source.parent.push_back(n == 0 || rng.chance(0.15) ? -1 : rng.integer(0, n - 1));
    source.tokens.push_back(n > 0 && rng.chance(0.4) ? source.tokens.back()
                                                     : rng.integer(1, rng.chance(0.3) ? 900 : 200));
  }
  for (std::int64_t r = rng.integer(1, most_requests); r > 0; --r) source.leaf.push_back(rng.integer(0, nodes - 1));
  return traces::make_forest(source);
}

/// Every cell (node, request) is put into an earlier box or a new one, in every way; what isn't a box is thrown away at
/// the end. Nothing of the search's order or pruning is shared.
class NaiveSpace {
 public:
  NaiveSpace(const DraftSpace& space, std::vector<std::int32_t> kernels, std::int32_t parts)
      : space_(space), kernels_(std::move(kernels)), most_parts_(parts) {
    for (const NodeId n : core::ids<NodeId>(space.forest.node_count())) {
      for (RequestId r = space.forest.request_begin[n]; r < space.forest.request_end[n]; ++r.value) {
        cells_.push_back({n, r});
      }
    }
  }

  double least_us() {
    place(0);
    return least_us_;
  }
  std::size_t covers() const { return covers_; }

 private:
  using Cell = std::pair<NodeId, RequestId>;

  void place(std::size_t at) {
    if (at == cells_.size()) return use_boxes();
    for (std::size_t b = 0; b < boxes_.size(); ++b) {
      boxes_[b].insert(cells_[at]);
      place(at + 1);
      boxes_[b].erase(cells_[at]);
    }
    boxes_.push_back({cells_[at]});
    place(at + 1);
    boxes_.pop_back();
  }

  std::optional<DraftPiece> as_piece(const std::set<Cell>& box) const {
    std::set<NodeId> nodes;
    std::set<RequestId> requests;
    for (const auto& [n, r] : box) nodes.insert(n), requests.insert(r);
    DraftPiece piece{*requests.begin(), RequestId(requests.rbegin()->value + 1), {}, 0, 0, space_.heads.kv_heads};
    const auto width = static_cast<std::size_t>(piece.end.value - piece.begin.value);
    if (requests.size() != width || box.size() != width * nodes.size()) return std::nullopt;
    NodeId above;
    for (const NodeId n : nodes) {
      if (above.valid() && space_.forest.parent[n] != above) return std::nullopt;
      piece.spans.push_back({n, 0, static_cast<std::int32_t>(space_.forest.tokens[n])});
      above = n;
    }
    return piece;
  }

  void use_boxes() {
    std::vector<DraftPiece> pieces;
    for (const std::set<Cell>& box : boxes_) {
      const std::optional<DraftPiece> piece = as_piece(box);
      if (!piece) return;
      pieces.push_back(*piece);
    }
    ++covers_;
    keys_.assign(pieces.size(), {});
    PlanDraft draft;
    cut(pieces, 0, draft);
  }

  /// Equals take their cuts in falling order; written from the header's words.
  bool in_order(const std::vector<DraftPiece>& pieces, std::size_t at) const {
    const auto alone = [&](const DraftPiece& p) {
      for (const DraftPiece& other : pieces) {
        if (&other != &p && other.begin < p.end && p.begin < other.end) return false;
      }
      return true;
    };
    for (std::size_t j = 0; j < at; ++j) {
      const DraftPiece &a = pieces[j], &b = pieces[at];
      bool alike = a.spans.size() == b.spans.size() && a.end.value - a.begin.value == b.end.value - b.begin.value &&
                   alone(a) == alone(b) &&
                   space_.forest.parent[a.spans[0].node] == space_.forest.parent[b.spans[0].node];
      for (std::size_t s = 0; alike && s < a.spans.size(); ++s) alike = a.spans[s].tokens() == b.spans[s].tokens();
      if (alike && keys_[j] < keys_[at]) return false;
    }
    return true;
  }

  void cut(const std::vector<DraftPiece>& pieces, std::size_t at, const PlanDraft& draft) {
    if (at == pieces.size()) return launch(draft);
    for (const std::int32_t k : kernels_) {
      DraftPiece piece = pieces[at];
      piece.kernel = k;
      if (space_.kernels[static_cast<std::size_t>(k)].queries < piece.end.value - piece.begin.value) continue;
      for (std::int32_t parts = 1; parts <= most_parts_; ++parts) {
        PlanDraft with = draft;
        std::vector<DraftPiece> cut_up = cut_evenly(space_, piece, parts);
        keys_[at] = {cut_up.size(), k};
        for (DraftPiece& part : cut_up) with.pieces.push_back(std::move(part));
        if (!in_order(pieces, at)) continue;
        cut(pieces, at + 1, with);
      }
    }
  }

  void launch(PlanDraft draft) {
    for (const bool sorted : {false, true}) {
      if (sorted) sort_longest_first(space_, draft);
      for (const DraftMerge merge : {DraftMerge::launch, DraftMerge::programmatic, DraftMerge::on_arrival}) {
        for (const int shape : {0, 1, 2}) {
          draft.merge = merge;
          draft.persistent = shape == 1;
          draft.side_by_side = shape == 2;
          least_us_ = std::min(least_us_, simulate(emit_draft(space_, draft), space_.device).makespan_us);
        }
      }
    }
  }

  const DraftSpace& space_;
  std::vector<std::int32_t> kernels_;
  std::int32_t most_parts_;
  std::vector<Cell> cells_;
  std::vector<std::set<Cell>> boxes_;
  std::vector<std::pair<std::size_t, std::int32_t>> keys_;
  double least_us_ = kInfinity;
  std::size_t covers_ = 0;
};

TEST(ExactSearch, FindsWhatTheNaiveEnumeratorFinds) {
  std::size_t covers = 0;
  for (std::uint64_t seed = 0; seed < property::cases(60); ++seed) {
    const traces::PrefixForest forest = tiny_forest(seed, 4, 3);
    const DraftSpace space = make_draft_space(forest, kHeads, tiny_gpu());
    std::size_t cells = 0;
    for (const NodeId n : core::ids<NodeId>(forest.node_count())) cells += static_cast<std::size_t>(forest.readers(n));
    if (cells > 4) continue;  // the naive one puts every cell into every box
    NaiveSpace naive(space, {0, 3}, 2);
    const double least = naive.least_us();
    ExactOptions options;
    options.most_parts = 2;
    options.kernels = {0, 3};
    options.most_plans = std::numeric_limits<std::int64_t>::max();
    const ExactResult exact = search_exactly(space, kInfinity, options);
    EXPECT_TRUE(exact.complete);
    EXPECT_EQ(exact.best_us, least) << forest.name;
    EXPECT_EQ(exact.covers, static_cast<std::int64_t>(naive.covers())) << forest.name;
    ASSERT_TRUE(exact.best.has_value());
    EXPECT_TRUE(scheduler::validate(emit_draft(space, *exact.best), tiny_gpu()).empty());
    covers += naive.covers();
  }
  EXPECT_GT(covers, property::cases(60));
}

TEST(ExactSearch, IsNoSlowerThanAnyStrategyOfItsSpaceAndTakesTheIncumbentElse) {
  for (std::uint64_t seed = 0; seed < property::cases(10); ++seed) {
    const traces::PrefixForest forest = tiny_forest(100 + seed, 5, 4);
    const DraftSpace space = make_draft_space(forest, kHeads, tiny_gpu());
    double fastest = kInfinity;
    for (const scheduler::Strategy* strategy : scheduler::strategies()) {
      const scheduler::PlanResult result =
          scheduler::make_plan({strategy, {}}, {.forest = forest, .heads = kHeads, .device = tiny_gpu()});
      if (const auto* plan = std::get_if<scheduler::Plan>(&result)) {
        fastest = std::min(fastest, simulate(*plan, tiny_gpu()).makespan_us);
      }
    }
    ExactOptions options;
    options.most_plans = std::numeric_limits<std::int64_t>::max();
    const ExactResult alone = search_exactly(space, kInfinity, options), led = search_exactly(space, fastest, options);
    ASSERT_TRUE(alone.complete && led.complete) << forest.name;
    EXPECT_EQ(led.best_us, std::min(fastest, alone.best_us)) << forest.name;
    EXPECT_LE(led.plans, alone.plans);
    EXPECT_EQ(led.best.has_value(), led.best_us < fastest);
  }
}

TEST(ExactSearch, BoundNeverExceedsTheSimulatedTime) {
  double closest = 0;
  for (std::uint64_t seed = 0; seed < property::cases(60); ++seed) {
    const traces::PrefixForest forest = traces::make_forest(property::random_source(seed, 4000));
    const costmodel::DeviceSpec device = costmodel::find_device(seed % 2 == 0 ? "h100-sxm:sms=3" : "l40s:sms=5");
    const traces::HeadConfig heads = traces::parse_heads(seed % 3 == 0   ? "128/1/576:512"
                                                         : seed % 3 == 1 ? "32/8/128"
                                                                         : "4/4/128");
    const DraftSpace space = make_draft_space(forest, heads, device);
    core::Rng rng(seed);
    PlanDraft draft = open_draft(space, openings(space)[seed % 18]);
    for (int i = 0; i < 40; ++i) {
      (void)mutate(space, draft, rng);
      const double bound = draft_bound_us(space, draft), us = simulate(emit_draft(space, draft), device).makespan_us;
      ASSERT_LE(bound, us) << forest.name << " on " << device.name;
      closest = std::max(closest, bound / us);
    }
  }
  EXPECT_GT(closest, 0.9) << "a bound that is never near rules nothing out";
}

TEST(ExactSearch, RefusesLargeInstancesAndSaysWhenItWasCutShort) {
  const traces::PrefixForest wide = traces::make_forest(property::star(64, 9, 8)), small = tiny_forest(3, 5, 4);
  const costmodel::DeviceSpec big = costmodel::find_device("h100-sxm");
  EXPECT_THROW((void)search_exactly(make_draft_space(wide, kHeads, tiny_gpu()), 1), core::Error);
  EXPECT_THROW((void)search_exactly(make_draft_space(small, kHeads, big), 1), core::Error);
  costmodel::DeviceSpec cores = tiny_gpu();
  cores.compute_capability = 1;
  EXPECT_THROW((void)search_exactly(make_draft_space(small, kHeads, cores), 1), core::Error);
  ExactOptions options;
  options.most_plans = 3;
  const ExactResult cut = search_exactly(make_draft_space(small, kHeads, tiny_gpu()), kInfinity, options);
  EXPECT_FALSE(cut.complete);
  EXPECT_EQ(cut.plans, 3);
}

}  // namespace
}  // namespace espalier::sim
