// The host executor against the oracle, its kernel against plain arithmetic, and the order in which it hands items out.
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "core/error.h"
#include "core/rng.h"
#include "kernels/host_bench.h"
#include "kernels/host_executor.h"
#include "kernels/host_schedule.h"
#include "scheduler/batch_update.h"
#include "scheduler/host_form.h"
#include "scheduler/strategy.h"
#include "scheduler/validate.h"
#include "traces/import.h"

namespace espalier::kernels {
namespace {

constexpr std::int64_t kRoom = std::int64_t{1} << 30;

scheduler::Plan plan_of(std::string_view strategy, const traces::PrefixForest& forest, const char* heads_text) {
  const auto device = costmodel::find_device("h100-sxm");
  const traces::HeadConfig heads = traces::parse_heads(heads_text);
  auto result =
      scheduler::make_plan(scheduler::parse_strategy(strategy), {.forest = forest, .heads = heads, .device = device});
  return std::get<scheduler::Plan>(std::move(result));
}

Difference difference_of(const scheduler::Plan& plan, std::int32_t threads) {
  const TensorSource source{3};
  const HostTensors tensors(plan.forest, plan.heads, &source, kRoom);
  HostExecutor executor(plan, tensors, threads);
  executor.run();
  executor.run();  // a second run begins afresh
  return compare(executor.output(), naive_attention(plan.forest, plan.heads, source));
}

TEST(HostExecutor, EveryStrategyGivesTheOraclesRows) {
  const traces::PrefixForest forest = traces::parse_tree("1,3,9|70,33,17");
  for (const scheduler::Strategy* strategy : scheduler::strategies()) {
    const auto device = costmodel::find_device("h100-sxm");
    const traces::HeadConfig heads = traces::parse_heads("8/2/64");
    auto made = scheduler::make_plan(scheduler::parse_strategy(strategy->info().name),
                                     {.forest = forest, .heads = heads, .device = device});
    ASSERT_TRUE(std::holds_alternative<scheduler::Plan>(made)) << strategy->info().name;
    const auto& plan = std::get<scheduler::Plan>(made);
    if (strategy->info().name == "bifurcated") {
      const HostTensors tensors(plan.forest, plan.heads, nullptr, kRoom);
      EXPECT_THROW(HostExecutor(plan, tensors, 1), core::Error);
      continue;
    }
    for (const std::int32_t threads : {1, 3}) {
      const Difference d = difference_of(plan, threads);
      EXPECT_TRUE(d.within(2e-5)) << strategy->info().name << " " << threads << " threads: " << d.worst;
    }
  }
}

TEST(HostExecutor, QueuesPassOverTheTasksOfWhoLeft) {
  scheduler::Plan plan = plan_of("lean", traces::parse_tree("1,3,9|70,33,700"), "8/2/64");
  ASSERT_TRUE(scheduler::leave(plan, scheduler::RequestId(4)));
  ASSERT_FALSE(plan.queues.empty());
  bool queued_padding = false;
  for (const scheduler::QueueItem& item : plan.queue_items) {
    queued_padding |= plan.tasks[item.task].kind == scheduler::TaskKind::padding;
  }
  ASSERT_TRUE(queued_padding);
  const Difference d = difference_of(plan, 2);
  EXPECT_TRUE(d.within(2e-5)) << d.worst;
}

TEST(HostExecutor, LatentAttentionReadsValuesInsideKeys) {
  const Difference d = difference_of(plan_of("espalier", traces::parse_tree("1,5|90,40"), "16/1/96:64"), 2);
  EXPECT_TRUE(d.within(2e-5)) << d.worst;
}

TEST(HostExecutor, RefusesOtherKvTypesAndTooLargeCaches) {
  const traces::PrefixForest forest = traces::parse_tree("1,2|10,10");
  traces::HeadConfig heads = traces::parse_heads("8/2/64");
  EXPECT_THROW(HostTensors(forest, heads, nullptr, 1000), core::Error);
  heads.kv_dtype = traces::Dtype::fp8_e4m3;
  EXPECT_THROW(HostTensors(forest, heads, nullptr, kRoom), core::Error);
}

TEST(HostExecutor, SpansCoverEveryItemOnceWithinTheMakespan) {
  const scheduler::Plan plan = plan_of("fasttree", traces::parse_tree("1,4,16|300,64,32"), "8/2/64");
  const HostTensors tensors(plan.forest, plan.heads, nullptr, kRoom);
  HostExecutor executor(plan, tensors, 2);
  const HostRun run = executor.run();
  std::set<std::tuple<int, std::int32_t, std::int32_t>> seen;
  std::vector<double> lane_end(2, 0);
  for (const scheduler::Span& span : run.spans) {
    EXPECT_TRUE(seen.emplace(static_cast<int>(span.kind), span.item, span.copy).second);
    EXPECT_GE(span.begin_us, lane_end[static_cast<std::size_t>(span.lane)]);
    EXPECT_GE(span.end_us, span.begin_us);
    EXPECT_LE(span.end_us, run.makespan_us);
    lane_end[static_cast<std::size_t>(span.lane)] = span.end_us;
  }
  std::size_t items = plan.steps.size();
  for (const scheduler::Task& task : plan.tasks) {
    items += task.kind == scheduler::TaskKind::padding ? 0 : static_cast<std::size_t>(task.copies);
  }
  EXPECT_EQ(seen.size(), items);
}

TEST(HostSchedule, HandsOutMergesOnlyAfterWhatTheyRead) {
  for (const char* strategy : {"cascade", "espalier", "lean", "flashinfer_persistent", "codec"}) {
    const scheduler::Plan plan = plan_of(strategy, traces::parse_tree("1,4,16|500,64,32"), "8/2/64");
    HostSchedule schedule(plan);
    schedule.reset();
    std::vector<std::int64_t> written(plan.slots.size(), 0);
    std::vector<std::optional<HostItem>> running(3);
    core::Rng rng(1);
    std::int64_t finished = 0;
    while (!schedule.done()) {
      const auto thread = static_cast<std::int32_t>(rng.integer(0, 2));
      auto& item = running[static_cast<std::size_t>(thread)];
      if (item) {
        const scheduler::SlotId out = item->kind == scheduler::PhaseKind::tasks
                                          ? plan.tasks[scheduler::TaskId(item->index)].slot
                                          : plan.steps[scheduler::StepId(item->index)].out;
        if (out.valid()) ++written[out.index()];
        schedule.finish(*item);
        item.reset();
        ++finished;
        continue;
      }
      item = schedule.take(thread);
      if (!item || item->kind == scheduler::PhaseKind::tasks) continue;
      const auto& step = plan.steps[scheduler::StepId(item->index)];
      for (std::int32_t i = step.inputs.begin; i < step.inputs.end; ++i) {
        EXPECT_GT(written[plan.reduction_inputs[static_cast<std::size_t>(i)].slot.index()], 0) << strategy;
      }
    }
    EXPECT_EQ(finished, schedule.items()) << strategy;
  }
}

TEST(HostAttention, MasksRowsAndTailsOfBlocks) {
  // 37 tokens, rows 1 and 2 of 4 see them; one column each so that sums are easy to check.
  constexpr std::int64_t kTokens = 37;
  std::vector<std::uint16_t> keys(kTokens * kHostColumns, 0), values(kTokens * kHostColumns, 0);
  std::vector<double> k, v;
  core::Rng rng(5);
  for (std::int64_t t = 0; t < kTokens; ++t) {
    const auto bits = [](float x) { return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16); };
    k.push_back(static_cast<double>(rng.integer(-64, 64)) / 64);
    v.push_back(static_cast<double>(rng.integer(-64, 64)) / 64);
    keys[static_cast<std::size_t>(t * kHostColumns)] = bits(static_cast<float>(k.back()));
    values[static_cast<std::size_t>(t * kHostColumns + 3)] = bits(static_cast<float>(v.back()));
  }
  HostRows rows;
  rows.reset(4, kHostColumns, kHostColumns);
  for (std::int64_t r = 0; r < 4; ++r) {
    rows.query[static_cast<std::size_t>(r * kHostColumns)] = static_cast<float>(r + 1) * 20;
  }
  attend_tokens(rows, 1, 4, {keys.data(), values.data(), kHostColumns, kHostColumns, kTokens});
  EXPECT_EQ(finish_row(rows, 0, rows.out.data()), -std::numeric_limits<float>::infinity());
  for (std::int64_t r = 1; r < 4; ++r) {
    double sum = 0, out = 0;
    for (std::size_t t = 0; t < kTokens; ++t) {
      const double w = std::exp2(static_cast<double>(r + 1) * 20 * k[t]);
      sum += w;
      out += w * v[t];
    }
    EXPECT_NEAR(finish_row(rows, r, &rows.out[static_cast<std::size_t>(r * rows.v_columns)]), std::log2(sum),
                1e-5 * std::log2(sum));
    EXPECT_NEAR(rows.out[static_cast<std::size_t>(r * kHostColumns + 3)], out / sum, 1e-5);
  }
}

TEST(HostAttention, FindsTheHighestScoreWhereverItIs) {
  constexpr std::int64_t kTokens = 45;  // a block, and a vector and a half
  for (std::int64_t highest = 0; highest < kTokens; ++highest) {
    std::vector<std::uint16_t> keys(kTokens * kHostColumns, 0), values(kTokens * kHostColumns, 0);
    keys[static_cast<std::size_t>(highest * kHostColumns)] = 0x3F80;        // 1
    values[static_cast<std::size_t>(highest * kHostColumns + 1)] = 0x4000;  // 2
    HostRows rows;
    rows.reset(3, kHostColumns, kHostColumns);
    std::fill(rows.query.begin(), rows.query.end(), 600.0F);  // a weight of 2^600 isn't an fp32
    attend_tokens(rows, 0, 3, {keys.data(), values.data(), kHostColumns, kHostColumns, kTokens});
    for (std::int64_t r = 0; r < 3; ++r) {
      std::vector<float> out(kHostColumns);
      EXPECT_EQ(finish_row(rows, r, out.data()), 600) << "token " << highest << ", row " << r;
      EXPECT_EQ(out[1], 2) << "token " << highest << ", row " << r;
    }
  }
}

TEST(HostAttention, MergesRowsByTheirSumsInPlace) {
  // One row far below the others, one that saw nothing.
  constexpr std::int64_t kColumns = 2 * kHostColumns;
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  const std::vector<float> lse = {-1001.5F, -1000, kNothing, -1003};
  std::vector<float> values(lse.size() * kColumns, 0);
  std::vector<PartialRow> rows;
  double sum = 0;
  std::vector<double> expected(kColumns, 0);
  for (std::size_t i = 0; i < lse.size(); ++i) {
    const double weight = std::exp2(static_cast<double>(lse[i]) + 1000);
    float* row = &values[i * kColumns];
    for (std::size_t c = 0; c < kColumns && lse[i] != kNothing; ++c) {
      row[c] = static_cast<float>(i * kColumns + c);
      expected[c] += weight * static_cast<double>(row[c]);
    }
    sum += weight;
    rows.push_back({row, lse[i]});
  }
  EXPECT_NEAR(merge_rows(rows, kColumns, values.data()), std::log2(sum) - 1000, 1e-4);
  for (std::size_t c = 0; c < kColumns; ++c) EXPECT_NEAR(values[c], expected[c] / sum, 1e-4 * (1 + expected[c] / sum));

  // What isn't written shows, unless its log-sum-exp says that there is nothing.
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::fill_n(values.begin() + 2 * kColumns, kColumns, nan);
  std::vector<PartialRow> unread = {{&values[kColumns], 1}, {&values[2 * kColumns], kNothing}};
  EXPECT_EQ(merge_rows(unread, kColumns, values.data()), 1);
  EXPECT_EQ(values[5], values[kColumns + 5]);
  std::vector<PartialRow> unwritten = {{&values[kColumns], 1}, {&values[kColumns], nan}};
  EXPECT_TRUE(std::isnan(merge_rows(unwritten, kColumns, values.data())));
  EXPECT_TRUE(std::isnan(values[0]));
  std::vector<PartialRow> empty(2, {&values[2 * kColumns], kNothing});
  EXPECT_EQ(merge_rows(empty, kColumns, values.data()), kNothing);
  EXPECT_EQ(std::count(values.begin(), values.begin() + kColumns, 0.0F), kColumns);
}

TEST(HostBench, CountsEachLastLevelCacheOnce) {
  const auto folder = std::filesystem::temp_directory_path() / ("espalier-caches-" + std::to_string(::getpid()));
  const auto describe = [&](int cpu, const char* cache, const std::vector<const char*>& level_size_sharers) {
    const auto at = folder / fmt::format("cpu{}", cpu) / "cache" / cache;
    std::filesystem::create_directories(at);
    for (std::size_t i = 0; i < level_size_sharers.size(); ++i) {
      std::ofstream(at / std::vector{"level", "size", "shared_cpu_list"}[i]) << level_size_sharers[i] << "\n";
    }
  };
  const std::vector<std::int32_t> all = {0, 1, 2, 3}, first = {0}, other = {3, 7};
  std::filesystem::create_directories(folder / "cpu0/cache/power");
  EXPECT_EQ(last_level_bytes(folder, all), 0);
  for (int cpu = 0; cpu < 4; ++cpu) {
    describe(cpu, "index0", {"1", "48K", std::to_string(cpu).c_str()});
    describe(cpu, "index3", {"3", "32768K", cpu < 2 ? "0-1" : "2-3"});
    describe(cpu, "index2", {"2", "1024K", std::to_string(cpu).c_str()});
  }
  EXPECT_EQ(last_level_bytes(folder, all), 64 << 20);
  EXPECT_EQ(last_level_bytes(folder, first), 32 << 20);
  EXPECT_EQ(last_level_bytes(folder, other), 32 << 20);
  describe(3, "index4", {"4", "128M"});
  EXPECT_EQ(last_level_bytes(folder, other), 128 << 20);
  std::filesystem::remove_all(folder);
  EXPECT_EQ(last_level_bytes(folder, all), 0);
}

TEST(HostPlan, WidensValuesThatLieInKeysOnceMore) {
  const scheduler::Plan host =
      scheduler::as_host_plan(plan_of("flash_decoding", traces::parse_tree("1,2|64,16"), "4/1/576:512"));
  const auto counts = count_task(task_shape(host, host.tasks[scheduler::TaskId(0)]),
                                 host.kernels[task_kernels(host)[scheduler::TaskId(0)]], host.heads);
  EXPECT_EQ(counts.conversions * 576, counts.kv_bytes / 2 * (576 + 512));
}

TEST(HostPlan, CountsTheSameBytesWithKernelsOfTheHost) {
  const scheduler::Plan plan = plan_of("fasttree", traces::parse_tree("1,4,16|300,64,32"), "8/2/128");
  const scheduler::Plan host = scheduler::as_host_plan(plan);
  EXPECT_NE(host.hash, plan.hash);
  for (const costmodel::KernelConfig& kernel : host.kernels) EXPECT_EQ(kernel.engine, costmodel::Engine::cpu);
  EXPECT_EQ(costmodel::host_kv_tile(plan.heads), 8);  // 512 bytes a token and head
  for (const scheduler::TaskId t : core::ids<scheduler::TaskId>(plan.tasks.size())) {
    const auto shape = task_shape(plan, plan.tasks[t]);
    const auto& k = host.kernels[task_kernels(host)[t]];
    const auto counts = count_task(shape, k, plan.heads);
    EXPECT_EQ(counts.kv_bytes, count_task(shape, plan.kernels[task_kernels(plan)[t]], plan.heads).kv_bytes);
    EXPECT_EQ(counts.mma_flops, 0);
    EXPECT_GE(counts.fma_flops, counts.logical_flops);
    EXPECT_EQ(counts.conversions * 2, counts.kv_bytes) << "all of it is widened";
    EXPECT_GE(counts.smem_read_bytes, counts.kv_bytes) << "by a row alone, too";
  }
}

}  // namespace
}  // namespace espalier::kernels
