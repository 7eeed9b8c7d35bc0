// The flat methods that deal work to persistent workers, and vLLM's cascade: shares, queues and decisions worked out by
// hand from the published rules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "core/rng.h"
#include "core/units.h"
#include "scheduler/plan_statistics.h"
#include "scheduler/strategies/split_rules.h"
#include "scheduler/strategies/vllm_cascade.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "tests/scheduler/unshared.h"
#include "traces/families.h"
#include "traces/import.h"

namespace espalier::scheduler {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using traces::PrefixForest;

const costmodel::DeviceSpec& h100() {
  static const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  return device;
}

Plan plan_of(std::string_view strategy, const PrefixForest& forest, const char* heads = "32/8/128",
             KernelSet kernels = KernelSet::published) {
  PlanResult result =
      make_plan(parse_strategy(strategy), PlanRequest{forest, traces::parse_heads(heads), h100(), kernels});
  if (const auto* refusal = std::get_if<Refusal>(&result)) {
    ADD_FAILURE() << refusal->sentence;
    return {};
  }
  Plan plan = std::get<Plan>(std::move(result));
  EXPECT_EQ(violations_text(validate(plan, h100())), "valid");
  return plan;
}

/// Sum over each worker's queue of what an item costs.
template <class Cost>
auto loads_of(const Plan& plan, Cost cost) {
  std::vector<decltype(cost(Task{}))> loads;
  for (const Interval& queue : plan.queues) {
    loads.push_back(0);
    for (std::int32_t i = queue.begin; i < queue.end; ++i) {
      loads.back() += cost(plan.tasks[plan.queue_items[static_cast<std::size_t>(i)].task]);
    }
  }
  return loads;
}

std::vector<std::int64_t> tiles_of(const Plan& plan, std::int64_t tile) {
  return loads_of(plan, [&](const Task& task) { return core::ceil_div(task_shape(plan, task).kv_tokens, tile); });
}

template <class T>
T most(const std::vector<T>& values) {
  return *std::max_element(values.begin(), values.end());
}
template <class T>
T least(const std::vector<T>& values) {
  return *std::min_element(values.begin(), values.end());
}

TEST(FlashInferPersistent, LimitsItemsToAnEqualShare) {
  EXPECT_EQ(planning::flashinfer_persistent_limit(1), 128);
  EXPECT_EQ(planning::flashinfer_persistent_limit(128), 128);
  EXPECT_EQ(planning::flashinfer_persistent_limit(129), 256);
  EXPECT_EQ(planning::flashinfer_persistent_limit(513), 768);
  // 8,192 tokens x 8 KV heads on 264 clusters: 249 each, rounded up to 256.
  const Plan plan = plan_of("flashinfer_persistent", unshared({8192}));
  EXPECT_EQ(statistics(plan).tasks, 8 * 32);
  ASSERT_EQ(plan.launches.size(), 1u);
  EXPECT_EQ(plan.launches[LaunchId(0)].workers, 264);
  ASSERT_EQ(plan.phases.size(), 2u);
  EXPECT_EQ(plan.phases[1].start, PhaseStart::barrier);
  EXPECT_EQ(most(loads_of(plan, [](const Task&) { return 1; })), 1);
  // A share beyond a request leaves it whole: nothing to merge.
  EXPECT_EQ(plan_of("flashinfer_persistent", unshared(equal_lengths(64, 8192))).phases.size(), 1u);
}

TEST(FlashInferPersistent, HalvesTheLimitOfTheLargeClass) {
  // 32 heads a KV head: tiles of 128 rows. 8,192 x 2 on 264 clusters: 128, halved for two KV heads.
  const Plan plan = plan_of("flashinfer_persistent", unshared({8192}), "64/2/128");
  EXPECT_EQ(plan.kernels[KernelId(0)].query_tile, 128);
  EXPECT_EQ(statistics(plan).tasks, 2 * 128);
  EXPECT_EQ(statistics(plan).longest_task_tokens, 64);
}

TEST(FlashInferPersistent, GivesEachItemToTheLeastLoaded) {
  core::Rng rng(5);
  std::vector<std::int64_t> lengths;
  for (int i = 0; i < 100; ++i) lengths.push_back(rng.log_normal(3000, 1.2));
  const Plan plan = plan_of("flashinfer_persistent", unshared(lengths));
  const auto cost = [&](const Task& task) { return 2 * 16 + task_shape(plan, task).kv_tokens; };
  const auto loads = loads_of(plan, cost);
  std::int64_t longest = 0;
  for (const Task& task : plan.tasks) longest = std::max(longest, cost(task));
  EXPECT_LE(most(loads) - least(loads), longest);
  // In the order of the items: when an item is given, nobody has less than its cluster. Replayed here.
  std::map<std::pair<std::int32_t, std::int32_t>, std::size_t> worker;
  for (std::size_t w = 0; w < plan.queues.size(); ++w) {
    for (std::int32_t i = plan.queues[w].begin; i < plan.queues[w].end; ++i) {
      const QueueItem& item = plan.queue_items[static_cast<std::size_t>(i)];
      worker[{item.task.value, item.copy}] = w;
    }
  }
  std::vector<std::int64_t> replayed(plan.queues.size(), 0);
  for (const auto& [item, w] : worker) {
    ASSERT_EQ(replayed[w], least(replayed));
    replayed[w] += cost(plan.tasks[TaskId(item.first)]);
  }
}

TEST(FlashInferPersistent, PairsCtasForManyLatentHeads) {
  // 128 rows of one latent head: 66 clusters of two. 8,192 / 66 = 125 tokens: items of 256.
  const Plan plan = plan_of("flashinfer_persistent", unshared({8192}), "128/1/576:512");
  EXPECT_EQ(plan.launches[LaunchId(0)].workers, 132);
  EXPECT_EQ(statistics(plan).tasks, 2 * 32);
  for (std::size_t w = 0; w < 132; w += 2) EXPECT_EQ(plan.queues[w].size(), plan.queues[w + 1].size());
  EXPECT_EQ(planning::flashinfer_latent_limit(8), 32);
  EXPECT_EQ(planning::flashinfer_latent_limit(33), 192);
  EXPECT_EQ(planning::flashinfer_latent_limit(65), 256);
}

TEST(Lean, TakesAsManyCtasAsItsRule) {
  // Tiles, outputs, tiles of the longest; on 132 SMs.
  EXPECT_EQ(planning::lean_grid(512, 8, 64, 132).ctas, 256);  // two tiles each
  EXPECT_EQ(planning::lean_grid(100, 1, 100, 132).ctas, 32);  // 32 an output
  EXPECT_EQ(planning::lean_grid(1, 1, 1, 132).ctas, 1);
  EXPECT_EQ(planning::lean_grid(32768, 512, 64, 132).ctas, 264);  // two an SM
  EXPECT_EQ(planning::lean_grid(4096, 1, 4096, 132).ctas, 32);
}

TEST(Lean, GivesEqualSharesAcrossOutputs) {
  const Plan plan = plan_of("lean", unshared(equal_lengths(64, 8192)));
  const auto tiles = tiles_of(plan, 128);
  ASSERT_EQ(tiles.size(), 264u);
  // 32,768 tiles: 32 CTAs take 125, the others 124.
  EXPECT_EQ(std::count(tiles.begin(), tiles.end(), 125), 32);
  EXPECT_EQ(std::count(tiles.begin(), tiles.end(), 124), 232);
  // An output of 64 tiles lies in at most two shares: at most as many cuts as borders between shares.
  EXPECT_LE(statistics(plan).tasks, 512 + 263);
  EXPECT_EQ(plan.launches.size(), 1u);
  EXPECT_EQ(plan.phases[1].start, PhaseStart::on_arrival);
}

TEST(Lean, GivesSharesThatDifferByOneTileToRaggedBatches) {
  core::Rng rng(9);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::int64_t> lengths;
    for (std::int64_t i = rng.integer(1, 60); i > 0; --i) lengths.push_back(rng.log_normal(2000, 1.5));
    for (const char* heads : {"32/8/128", "28/4/128", "32/32/64"}) {
      const Plan plan = plan_of("lean", unshared(lengths), heads);
      const auto tiles = tiles_of(plan, plan.kernels[KernelId(0)].kv_tile);
      EXPECT_LE(most(tiles) - least(tiles), 1);
      EXPECT_GE(least(tiles), 1);
    }
  }
}

TEST(Lean, GivesEqualTimesWhenAsked) {
  const traces::HeadConfig heads = traces::parse_heads("32/8/128");
  const auto model = costmodel::make_cost_model("analytic", h100(), heads);
  // Sixty short requests and two long ones: in equal tiles a share of short ones has many beginnings.
  std::vector<std::int64_t> lengths = equal_lengths(60, 256);
  lengths.insert(lengths.end(), {60000, 60000});
  const auto slowest = [&](const Plan& plan) {
    return most(loads_of(plan, [&](const Task& task) {
      return task.kind == TaskKind::attend ? model->task(task_shape(plan, task), plan.kernels[KernelId(0)]).us : 0.0;
    }));
  };
  const auto timed = [&](const traces::PrefixForest& forest) {
    scheduler::PlanRequest request{forest, heads, h100()};
    request.cost_model = "analytic";
    return std::get<Plan>(make_plan(parse_strategy("lean"), request));
  };
  const Plan tiles = plan_of("lean", unshared(lengths)), times = timed(unshared(lengths));
  EXPECT_EQ(tiles.queues.size(), times.queues.size());
  EXPECT_LT(slowest(times), 0.95 * slowest(tiles));
  EXPECT_EQ(tiles.provenance.cost_model, "");
  EXPECT_EQ(times.provenance.cost_model, "analytic");
}

TEST(FlashMla, GivesPartsOfEqualPayload) {
  // 20 + 5, 3 + 5 and 4 + 5 blocks in three parts: 14 each, and 5 more.
  const auto parts = planning::flashmla_parts(std::vector<std::int64_t>{20, 3, 4}, 3);
  ASSERT_EQ(parts.size(), 3u);
  const auto text = [](const std::vector<planning::PartPiece>& part) {
    std::string out;
    for (const auto& piece : part) {
      out += std::to_string(piece.request) + ":" + std::to_string(piece.begin) + "-" + std::to_string(piece.end) + " ";
    }
    return out;
  };
  EXPECT_EQ(text(parts[0]), "0:0-14 ");         // 19 - 5
  EXPECT_EQ(text(parts[1]), "0:14-20 1:0-3 ");  // 11 and 8 are 19: nothing is left for the third
  EXPECT_EQ(text(parts[2]), "2:0-4 ");
}

TEST(FlashMla, PaysNoMoreThanThePayloadAndCoversEveryBlock) {
  core::Rng rng(21);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::int64_t> blocks;
    std::int64_t total = 0;
    for (std::int64_t i = rng.integer(1, 80); i > 0; --i) {
      total += (blocks.emplace_back(rng.log_normal(20, 1.5)), blocks.back() + 5);
    }
    const std::int64_t count = rng.integer(1, 132), payload = core::ceil_div(total, count) + 5;
    std::vector<std::int64_t> done(blocks.size(), 0);
    for (const auto& part : planning::flashmla_parts(blocks, count)) {
      std::int64_t paid = 0;
      for (const auto& piece : part) {
        EXPECT_EQ(piece.begin, done[static_cast<std::size_t>(piece.request)]);
        EXPECT_LT(piece.begin, piece.end);
        done[static_cast<std::size_t>(piece.request)] = piece.end;
        paid += piece.end - piece.begin + 5;
      }
      EXPECT_LE(paid, payload);
    }
    EXPECT_EQ(done, blocks);
  }
}

TEST(FlashMla, CountsPartsByRowTiles) {
  // 128 heads are two tiles of 64 rows: 66 parts of two CTAs.
  const PrefixForest forest = unshared(equal_lengths(4, 8192));
  const Plan plan = plan_of("flashmla", forest, "128/1/576:512");
  EXPECT_EQ(plan.launches[LaunchId(0)].workers, 132);
  EXPECT_EQ(plan.launches[LaunchId(1)].follow, Follow::programmatic);
  // 4 x 133 over 66 parts: 9 and 5 more, so pieces of at most 9 blocks.
  EXPECT_EQ(statistics(plan).longest_task_tokens, 9 * 64);
  EXPECT_EQ(plan_of("flashmla", forest, "16/1/576:512").launches[LaunchId(0)].workers, 132);
  EXPECT_EQ(plan_of("flashmla:planner=1", forest, "16/1/576:512").launches.size(), 3u);
}

TEST(FlashMla, ServesLatentHeadsOnlyAsPublished) {
  const PrefixForest forest = unshared({1000, 64});
  const PlanResult refused =
      make_plan(parse_strategy("flashmla"), {forest, traces::parse_heads("32/8/128"), h100(), KernelSet::published});
  ASSERT_TRUE(std::holds_alternative<Refusal>(refused));
  EXPECT_EQ(std::get<Refusal>(refused).refusal, RefusalClass::heads);
  EXPECT_EQ(std::get<Refusal>(refused).sentence,
            "FlashMLA's kernel serves latent attention of 576 dims with values of 512 inside, got 32/8/128");
  EXPECT_EQ(plan_of("flashmla", forest, "32/8/128", KernelSet::ours).launches.size(), 1u);
}

TEST(VllmCascade, DecidesByThePublishedRule) {
  const traces::HeadConfig heads = traces::parse_heads("32/8/128");
  const auto sixteen = planning::vllm_rule(8192, 16, heads, 132), more = planning::vllm_rule(8192, 32, heads, 132);
  EXPECT_EQ(sixteen.cascade_units, 64);
  EXPECT_EQ(sixteen.flash_units, 63);
  EXPECT_FALSE(sixteen.on);
  EXPECT_EQ(more.flash_units, 125);
  EXPECT_TRUE(more.on);
}

TEST(VllmCascade, TurnsOnWhereHeadsOfAllRequestsExceedTheSms) {
  const struct {
    const char* heads;
    std::int64_t sms, first;
  } cases[] = {{"32/8/128", 132, 17},
               {"32/8/128", 108, 14},
               {"32/4/128", 132, 34},
               {"32/2/128", 132, 67},
               {"32/1/128", 132, 133}};
  for (const auto& c : cases) {
    for (const std::int64_t prefix : {4096, 65536}) {
      EXPECT_FALSE(planning::vllm_rule(prefix, c.first - 1, traces::parse_heads(c.heads), c.sms).on) << c.heads;
      EXPECT_TRUE(planning::vllm_rule(prefix, c.first, traces::parse_heads(c.heads), c.sms).on) << c.heads;
    }
  }
  const traces::HeadConfig mha = traces::parse_heads("32/32/128");
  EXPECT_TRUE(planning::vllm_rule(256, 8, mha, 132).on);
  EXPECT_FALSE(planning::vllm_rule(255, 8, mha, 132).on);
  EXPECT_FALSE(planning::vllm_rule(256, 7, mha, 132).on);
}

TEST(VllmCascade, CountsWhatEveryRequestSharesInWholePages) {
  EXPECT_EQ(planning::vllm_common_prefix(traces::parse_tree("1,1,8|1000,300,64")), 1300);
  EXPECT_EQ(planning::vllm_common_prefix(traces::parse_tree("2,8|1000,64")), 0);
  EXPECT_EQ(planning::vllm_common_prefix(traces::floor_to_pages(traces::parse_tree("1,8|1000,64"), 16)), 992);
  // A request that is the prefix keeps its last token.
  EXPECT_EQ(planning::vllm_common_prefix(traces::parse_tree("1|1000")), 999);
}

TEST(VllmCascade, ReadsThePrefixOnceATileAndMergesTwoStates) {
  const Plan plan = plan_of("vllm_cascade", traces::parse_tree("1,32|8192,256"));
  // 64 blocks, 5 an SM: 13 pieces of the prefix; combine; suffixes whole; merge.
  std::vector<PhaseKind> kinds;
  for (const Phase& phase : plan.phases) kinds.push_back(phase.kind);
  EXPECT_THAT(kinds, ElementsAre(PhaseKind::tasks, PhaseKind::steps, PhaseKind::tasks, PhaseKind::steps));
  EXPECT_EQ(statistics(plan).tasks, 8 * (13 + 32));
  EXPECT_DOUBLE_EQ(statistics(plan).requested_over_unique, 1.0);
  EXPECT_THAT(plan.provenance.why.front(), HasSubstr("cascade over 8192 shared tokens: 64 against 125"));
}

TEST(VllmCascade, IsFlashAttentionWhenOff) {
  const PrefixForest forest = traces::parse_tree("1,16|8192,256");
  const Plan off = plan_of("vllm_cascade", forest), flash = plan_of("fa3_dynamic", forest);
  EXPECT_EQ(off.tasks.size(), flash.tasks.size());
  EXPECT_EQ(statistics(off).requested_kv_tokens, statistics(flash).requested_kv_tokens);
  EXPECT_THAT(off.provenance.why.front(), HasSubstr("no cascade"));
  // Without warp-group MMA it is FlashAttention-2, which doesn't split paged batches.
  const costmodel::DeviceSpec a100 = costmodel::find_device("a100-80");
  for (const char* tree : {"1,8|8192,256", "1,64|8192,256"}) {
    const PrefixForest shared = traces::parse_tree(tree);
    const Plan plan = std::get<Plan>(make_plan(parse_strategy("vllm_cascade"),
                                               {shared, traces::parse_heads("32/8/128"), a100, KernelSet::published}));
    EXPECT_EQ(violations_text(validate(plan, a100)), "valid");
    EXPECT_EQ(plan.launches.size(), shared.request_count() == 8 ? 1u : 3u);
    // The prefix's queries aren't packed: each query head reads it.
    if (shared.request_count() == 64) {
      EXPECT_EQ(plan.tasks[TaskId(0)].copies, 32);
    }
  }
}

}  // namespace
}  // namespace espalier::scheduler
