// Measuring many plans, with a runner in the GPU's place: order, what is kept, what `validate --from` makes of it.
#include "apps/measure.h"

#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include "command.h"
#include "core/error.h"
#include "kernels/cuda_executor.h"
#include "sim/simulator.h"

namespace espalier::apps {
namespace {

using testing::HasSubstr;

std::vector<Input> two_trees() {
  InputOptions inputs;
  inputs.trees = {"1,4|512,64", "1,2,8|256,128,64"};
  return load_inputs(inputs);
}

MeasureOptions options_for(const std::string& strategies) {
  MeasureOptions options;
  options.plans.heads = choose_heads({.heads = "8/2/128", .model = {}, .dtype = {}});
  options.plans.strategies = choose_strategies(strategies);
  options.plans.devices = choose_devices({"h100-sxm"});
  options.plans.jobs = 1;
  options.memory_bytes = std::int64_t{1} << 40;
  return options;
}

/// A device that is the model.
PlanTimes simulated(const scheduler::Plan& plan) {
  const double us = sim::simulate(plan, costmodel::find_device("h100-sxm")).makespan_us;
  return {.repeats_us = std::vector<double>(20, us), .path = "plain"};
}

TEST(Measure, RunsEveryInputByOneStrategyBeforeTheNext) {
  const auto rows = measure_plans(two_trees(), options_for("flash_decoding,pat"), simulated);
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_EQ(rows[0].strategy, "flash_decoding");
  EXPECT_EQ(rows[1].strategy, "flash_decoding");
  EXPECT_NE(rows[0].input, rows[1].input);
  EXPECT_EQ(rows[2].strategy, "pat");
  for (const MeasureRow& row : rows) {
    EXPECT_EQ(row.status, MeasureStatus::ok) << row.note;
    EXPECT_NEAR(row.median_us, row.predicted_us, 1e-9);
    EXPECT_EQ(row.repeats, 20);
    EXPECT_GT(row.device_bytes, row.unique_kv_bytes);
  }
}

TEST(Measure, SaysWhyAPlanDidNotRun) {
  MeasureOptions options = options_for("flash_decoding,cascade");
  options.memory_bytes = 1;
  for (const MeasureRow& row : measure_plans(two_trees(), options, simulated)) {
    EXPECT_EQ(row.status, MeasureStatus::memory);
    EXPECT_THAT(row.note, HasSubstr("needs"));
  }
  options.memory_bytes = std::int64_t{1} << 40;
  const PlanRunner breaks = [](const scheduler::Plan&) -> PlanTimes {
    throw core::Error(core::ErrorKind::check_failed, "CUDA: a launch: no");
  };
  EXPECT_EQ(measure_plans(two_trees(), options, breaks).at(0).status, MeasureStatus::failed);
  const PlanRunner errs = [](const scheduler::Plan&) { return PlanTimes{.repeats_us = {1, 1}, .error = 1.5}; };
  EXPECT_EQ(measure_plans(two_trees(), options, errs).at(0).status, MeasureStatus::wrong);
  const PlanRunner nans = [](const scheduler::Plan&) { return PlanTimes{.repeats_us = {1, 1}, .error = NAN}; };
  EXPECT_EQ(measure_plans(two_trees(), options, nans).at(0).status, MeasureStatus::wrong);
  options.seconds = 1e-9;
  EXPECT_EQ(measure_plans(two_trees(), options, simulated).back().status, MeasureStatus::skipped);
}

TEST(Measure, CallsRowsWrongThatDifferFromTheFirstStrategys) {
  std::map<std::string, int> runs;
  const PlanRunner run = [&](const scheduler::Plan& plan) {
    // The second strategy is right on the first input only.
    const bool off = plan.provenance.strategy == "pat" && ++runs["pat"] == 2;
    PlanTimes times{.repeats_us = {1, 1},
                    .rows = kernels::make_output(plan.forest, plan.heads, off ? 1.02 : 1.005),
                    .row_limit = 0.004};
    if (plan.provenance.strategy == "flash_decoding") times.rows = kernels::make_output(plan.forest, plan.heads, 1.0);
    return times;
  };
  const auto rows = measure_plans(two_trees(), options_for("flash_decoding,pat"), run);
  EXPECT_EQ(rows[0].status, MeasureStatus::ok);
  EXPECT_FALSE(rows[0].error.has_value());
  EXPECT_EQ(rows[2].status, MeasureStatus::ok);
  EXPECT_NEAR(rows[2].error.value(), 0.005 / 0.008, 1e-6);
  EXPECT_EQ(rows[3].status, MeasureStatus::wrong);
  EXPECT_THAT(rows[3].note, HasSubstr("rows differ from those of flash_decoding"));
}

TEST(Measure, EndsWithTheDeviceAndCanGoOnBehindIt) {
  MeasureOptions options = options_for("flash_decoding,pat");
  int ran = 0;
  const PlanRunner run = [&](const scheduler::Plan& plan) {
    if (++ran == 2) throw kernels::DeviceLost("CUDA: running what is timed: no");
    return simulated(plan);
  };
  std::vector<std::size_t> kept;
  options.keep = [&](const std::vector<MeasureRow>& rows) { kept.push_back(rows.size()); };
  const auto rows = measure_plans(two_trees(), options, run);
  EXPECT_EQ(ran, 2);
  EXPECT_EQ(rows[0].status, MeasureStatus::ok);
  EXPECT_EQ(rows[1].status, MeasureStatus::lost);
  EXPECT_EQ(rows[2].status, MeasureStatus::skipped);
  EXPECT_EQ(rows[3].status, MeasureStatus::skipped);
  EXPECT_EQ(kept, std::vector<std::size_t>{4});
  options.begin = 2;
  const auto rest = measure_plans(two_trees(), options, run);
  ASSERT_EQ(rest.size(), 2U);
  EXPECT_EQ(rest[0].strategy, "pat");
  EXPECT_EQ(rest[1].status, MeasureStatus::ok);
}

TEST(Measure, RefusedIsNotFailed) {
  const PlanRunner refuses = [](const scheduler::Plan&) -> PlanTimes {
    throw kernels::PlanRefused("the kernels can't run this plan: too many blocks");
  };
  const auto rows = measure_plans(two_trees(), options_for("pat"), refuses);
  EXPECT_EQ(rows[0].status, MeasureStatus::refused);
  EXPECT_THAT(rows[0].note, HasSubstr("too many blocks"));
}

TEST(Measure, TakesRowsOfRequestsSpreadEvenly) {
  kernels::AttentionOutput all{
      .requests = 10, .q_heads = 2, .v_dim = 3, .rows = std::vector<double>(60), .lse = std::vector<double>(20)};
  for (std::int32_t r = 0; r < 10; ++r) {
    for (std::int32_t h = 0; h < 2; ++h) all.at(r, h, 2) = r;
  }
  const kernels::AttentionOutput some = some_rows(all, 4);
  EXPECT_EQ(some.requests, 4);
  EXPECT_EQ(some.rows.size(), 24U);
  EXPECT_EQ(some.lse.size(), 8U);
  EXPECT_EQ(some.at(1, 0, 2), 2);
  EXPECT_EQ(some.at(3, 1, 2), 7);
  EXPECT_EQ(some_rows(all, 99).rows, all.rows);
}

TEST(Measure, TablesHoldEveryRow) {
  std::vector<MeasureRow> rows(4);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i].input = i % 2 == 0 ? "a" : "b";
    rows[i].heads = "8/2/128";
    rows[i].strategy = i < 2 ? "first" : "second";
    rows[i].status = MeasureStatus::ok;
    rows[i].median_us = i < 2 ? 80 : 20;
  }
  rows[3].status = MeasureStatus::memory;
  rows[3].note = "needs \"much\"";
  const std::string table = measure_markdown(rows);
  EXPECT_THAT(table, HasSubstr("| a 8/2/128 | 80.0 | 20.0 |"));
  EXPECT_THAT(table, HasSubstr("| b 8/2/128 | 80.0 | n/a: memory |"));
  EXPECT_THAT(table, HasSubstr("* second: 4.00x, 1 input\n"));
  const std::string csv = measure_csv(rows);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 5);
  EXPECT_THAT(csv, HasSubstr("n/a: memory"));
  EXPECT_THAT(csv, HasSubstr("\"needs 'much'\""));
  EXPECT_TRUE(measured_plans(rows).empty()) << "rows without a file of their plan";
}

class MeasureFolder : public CommandTest {};

TEST_F(MeasureFolder, IsWhatValidateReads) {
  MeasureOptions options = options_for("flash_decoding,pat,espalier");
  options.plan_folder = folder_.string();
  costmodel::MeasurementFile file;
  file.environment = {"a card", "570.1", costmodel::kernel_build_hash()};
  file.plans = measured_plans(measure_plans(two_trees(), options, simulated));
  EXPECT_EQ(file.plans.size(), 6U);
  write("measurement.json", costmodel::write_measurement(file));
  const Result result = run("validate --from measurement.json --device h100-sxm --json scores.json");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("6 plans of 2 inputs on h100-sxm: mean error 0.0 %"));
}

TEST_F(MeasureFolder, DryRunsNeedNoGpu) {
  const Result result =
      run("measure --tree '1,4|512,64' --heads 32/8/128 --device h100-sxm --strategy flash_decoding,espalier --dry-run "
          "-o out");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("2 planned only"));
  EXPECT_THAT(read("out/results.csv"), HasSubstr("planned"));
  EXPECT_THAT(read("out/results.md"), HasSubstr("* espalier: "));
  EXPECT_FALSE(exists("out/measurement.json"));
}

TEST_F(MeasureFolder, NoGpuIsSaidBeforeAnythingIsWritten) {
  const Result result = run("measure --tree '1,4|512,64' --heads 32/8/128 --device h100-sxm -o out");
  EXPECT_EQ(result.code, 4) << result.err;
  EXPECT_FALSE(exists("out"));
}

}  // namespace
}  // namespace espalier::apps
