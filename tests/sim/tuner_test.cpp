// Drafts, moves and the annealing loop: valid whatever is drawn, the same for the same seed, resumable, never worse
// than its start.
#include "sim/tuner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "core/error.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "sim/simulator.h"
#include "tests/property/forests.h"

namespace espalier::sim {
namespace {

using ::testing::HasSubstr;

const costmodel::DeviceSpec& small_gpu() {
  static const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm:sms=12");
  return device;
}

std::vector<scheduler::Plan> strategy_plans(const traces::PrefixForest& forest, const traces::HeadConfig& heads) {
  std::vector<scheduler::Plan> plans;
  for (const scheduler::Strategy* strategy : scheduler::strategies()) {
    scheduler::PlanResult result =
        scheduler::make_plan({strategy, {}}, {.forest = forest, .heads = heads, .device = small_gpu()});
    if (auto* plan = std::get_if<scheduler::Plan>(&result)) plans.push_back(std::move(*plan));
  }
  return plans;
}

double fastest(const std::vector<scheduler::Plan>& plans) {
  double us = simulate(plans.front(), small_gpu()).makespan_us;
  for (const scheduler::Plan& plan : plans) us = std::min(us, simulate(plan, small_gpu()).makespan_us);
  return us;
}

traces::PrefixForest ragged(std::uint64_t seed, std::int64_t tokens = 6000) {
  return traces::make_forest(property::random_source(seed, tokens));
}

void run_to(Tuner& tuner, std::int64_t iterations) {
  while (tuner.state().iteration < iterations) tuner.step();
}

const traces::HeadConfig kHeads[] = {traces::parse_heads("32/8/128"), traces::parse_heads("8/1/64"),
                                     traces::parse_heads("128/1/576:512"), traces::parse_heads("4/4/128")};

TEST(Draft, MovesNeverLeaveTheSpaceOfValidPlans) {
  std::uint64_t moved = 0;
  for (std::uint64_t seed = 0; seed < property::cases(60); ++seed) {
    const traces::PrefixForest forest = ragged(seed);
    const traces::HeadConfig& heads = kHeads[seed % 4];
    const DraftSpace space = make_draft_space(forest, heads, small_gpu());
    const std::vector<Opening> starts = openings(space);
    core::Rng rng(seed);
    PlanDraft draft = open_draft(
        space, starts[static_cast<std::size_t>(rng.integer(0, static_cast<std::int64_t>(starts.size()) - 1))]);
    for (int step = 0; step < 60; ++step) {
      moved += mutate(space, draft, rng);
      if (step % 4 != 0) continue;
      const scheduler::Plan plan = emit_draft(space, draft);
      const auto violations = scheduler::validate(plan, small_gpu());
      ASSERT_TRUE(violations.empty()) << forest.name << " step " << step << ": "
                                      << scheduler::violations_text(violations);
    }
  }
  EXPECT_GT(moved, property::cases(60) * 20);
}

TEST(Draft, EveryOpeningIsAValidPlan) {
  for (std::uint64_t seed = 0; seed < property::cases(12); ++seed) {
    const traces::PrefixForest forest = ragged(1000 + seed);
    const DraftSpace space = make_draft_space(forest, kHeads[seed % 4], small_gpu());
    for (const Opening& opening : openings(space)) {
      const auto violations = scheduler::validate(emit_draft(space, open_draft(space, opening)), small_gpu());
      ASSERT_TRUE(violations.empty()) << forest.name << ": " << scheduler::violations_text(violations);
    }
  }
}

TEST(Draft, ComesBackFromItsPlan) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const traces::PrefixForest forest = ragged(seed);
    const DraftSpace space = make_draft_space(forest, kHeads[0], small_gpu());
    core::Rng rng(seed);
    PlanDraft draft = open_draft(space, openings(space)[seed % 18]);
    for (int i = 0; i < 10; ++i) (void)mutate(space, draft, rng);
    const scheduler::Plan plan = emit_draft(space, draft);
    const std::optional<PlanDraft> back = draft_of(space, plan);
    ASSERT_TRUE(back.has_value()) << forest.name;
    // Phases group pieces by kernel, so the lists may differ in order; what runs doesn't.
    EXPECT_EQ(simulate(emit_draft(space, *back), small_gpu()).makespan_us, simulate(plan, small_gpu()).makespan_us)
        << forest.name;
  }
}

TEST(Draft, MergeRefusesToReadForRequestsThatReadElsewhere) {
  const traces::PrefixForest forest = traces::make_forest(property::star(256, 4, 64));
  const DraftSpace space = make_draft_space(forest, kHeads[0], small_gpu());
  const auto root = [&](int begin, int end) {
    return DraftPiece{RequestId(begin), RequestId(end), {{NodeId(0), 0, 256}}, 0, 0, 8};
  };
  const DraftPiece tail{RequestId(3), RequestId(4), {{NodeId(4), 0, 64}}, 0, 0, 8};
  EXPECT_FALSE(merge_pieces(space, root(0, 2), tail).has_value()) << "requests 2 and 3 would read the root twice";
  ASSERT_TRUE(merge_pieces(space, root(2, 4), tail).has_value());
  const std::optional<DraftPiece> whole = merge_pieces(space, root(0, 2), root(2, 4));
  ASSERT_TRUE(whole.has_value());
  EXPECT_EQ(*whole, root(0, 4));
}

TEST(Tuner, IsNeverWorseThanAnyStrategyAndItsPlanIsValid) {
  for (std::uint64_t seed = 0; seed < property::cases(12); ++seed) {
    const traces::PrefixForest forest = ragged(seed, 20000);
    const std::vector<scheduler::Plan> plans = strategy_plans(forest, kHeads[seed % 4]);
    const double start = fastest(plans);
    Tuner tuner(forest, kHeads[seed % 4], small_gpu(), plans, seed);
    for (const std::int64_t until : {0, 3, 200, 500}) {
      run_to(tuner, until);
      const scheduler::Plan best = tuner.best_plan();
      const auto violations = scheduler::validate(best, small_gpu());
      ASSERT_TRUE(violations.empty()) << forest.name << ": " << scheduler::violations_text(violations);
      EXPECT_LE(tuner.best_us(), start);
      EXPECT_EQ(simulate(best, small_gpu()).makespan_us, tuner.best_us());
    }
  }
}

TEST(Tuner, SameSeedSamePlanAnotherSeedAnotherWay) {
  const traces::PrefixForest forest = ragged(7, 20000);
  const auto best_hash = [&](std::uint64_t seed) {
    Tuner tuner(forest, kHeads[0], small_gpu(), strategy_plans(forest, kHeads[0]), seed);
    run_to(tuner, tuner.opening_iterations() + 300);
    return std::pair(tuner.best_plan().hash, tuner.state().accepted);
  };
  EXPECT_EQ(best_hash(1), best_hash(1));
  EXPECT_NE(best_hash(1), best_hash(2));
}

struct Search {
  traces::PrefixForest forest = ragged(11, 20000);
  Tuner fresh() const { return Tuner(forest, kHeads[0], small_gpu(), strategy_plans(forest, kHeads[0]), 3); }
  DraftSpace space = make_draft_space(forest, kHeads[0], small_gpu());
  TuneKey key{"ragged", 0, 3, 17, 18, "h100-sxm:sms=12", "32/8/128"};

  std::string written(const Tuner& tuner) const {
    const TuneEntry entry{key, tuner.state()};
    const DraftSpace* spaces[] = {&space};
    return write_tune_state(std::span(&entry, 1), spaces);
  }
  TuneState read(const std::string& text) const {
    const DraftSpace* spaces[] = {&space};
    return read_tune_state(text, "state.json", std::span(&key, 1), spaces).front();
  }
};

TEST(Tuner, StopAndResumeEqualsOneRun) {
  const Search search;
  Tuner whole = search.fresh();
  const std::int64_t end = whole.opening_iterations() + 900;
  run_to(whole, end);
  for (const std::int64_t stop : {std::int64_t{1}, whole.opening_iterations() - 1, whole.opening_iterations() + 333}) {
    Tuner first = search.fresh();
    run_to(first, stop);
    Tuner second = search.fresh();
    second.resume(search.read(search.written(first)), "state.json");
    run_to(second, end);
    EXPECT_EQ(search.written(second), search.written(whole)) << "stopped at " << stop;
    EXPECT_EQ(second.best_plan().hash, whole.best_plan().hash);
  }
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::bad_input);
    return error.what();
  }
  return "no error";
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(TuneState, OfAnotherRunOrBrokenIsRefused) {
  Search search;
  Tuner tuner = search.fresh();
  run_to(tuner, tuner.opening_iterations() + 50);
  const std::string text = search.written(tuner);
  EXPECT_THAT(error_of([&] { (void)search.read(text.substr(0, text.size() / 2)); }), HasSubstr("state.json"));
  search.key.forest_hash = 99;
  EXPECT_THAT(error_of([&] { (void)search.read(text); }), HasSubstr("another run"));
  search.key.forest_hash = 17;
  EXPECT_THAT(error_of([&] { (void)search.read(replaced(text, "\"device\": \"h100", "\"device\": \"h200")); }),
              HasSubstr("h200"));
  EXPECT_THAT(error_of([&] { (void)search.read(replaced(text, "tune_state/1", "tune_state/2")); }),
              HasSubstr("tune_state"));
}

TEST(TuneState, DraftThatCoversOtherTokensIsRefused) {
  const Search search;
  Tuner tuner = search.fresh();
  run_to(tuner, tuner.opening_iterations() + 50);
  TuneState state = tuner.state();
  ASSERT_TRUE(state.best.has_value());
  state.best->pieces.pop_back();
  Tuner other = search.fresh();
  EXPECT_THAT(error_of([&] { other.resume(state, "state.json"); }), HasSubstr("valid plan"));
  state = tuner.state();
  state.best_us *= 0.5;
  EXPECT_THAT(error_of([&] { other.resume(state, "state.json"); }), HasSubstr("another version"));
  state = tuner.state();
  state.start_hash ^= 1;
  EXPECT_THAT(error_of([&] { other.resume(state, "state.json"); }), HasSubstr("strategies"));
}

TEST(TuneState, IndicesOutsideTheForestAreRefused) {
  const Search search;
  Tuner tuner = search.fresh();
  run_to(tuner, tuner.opening_iterations());
  TuneState state = tuner.state();
  const auto refused = [&](auto&& change) {
    TuneState broken = state;
    change(*broken.best);
    const TuneEntry entry{search.key, broken};
    const DraftSpace* spaces[] = {&search.space};
    const std::string text = write_tune_state(std::span(&entry, 1), spaces);
    EXPECT_NE(error_of([&] { (void)search.read(text); }), "no error");
  };
  refused([](PlanDraft& d) { d.pieces[0].spans[0].node = NodeId(100000); });
  refused([](PlanDraft& d) { d.pieces[0].spans[0].end = 2'000'000'000; });
  refused([](PlanDraft& d) { d.pieces[0].spans[0].begin = d.pieces[0].spans[0].end; });
  refused([](PlanDraft& d) { d.pieces[0].end = d.pieces[0].begin; });
  refused([](PlanDraft& d) { d.pieces[0].end = RequestId(100000); });
  refused([](PlanDraft& d) { d.pieces[0].kernel = 99; });
  refused([](PlanDraft& d) { d.pieces[0].kv_end = 99; });
  refused([](PlanDraft& d) { d.pieces[0].spans.clear(); });
  refused([](PlanDraft& d) { d.pieces.clear(); });
  refused([](PlanDraft& d) { d.pieces[0].spans.push_back(d.pieces[0].spans[0]); });
}

}  // namespace
}  // namespace espalier::sim
