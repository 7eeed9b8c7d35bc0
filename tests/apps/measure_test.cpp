// Measuring many plans, with a runner in the GPU's place: order, what is kept, what `validate --from` makes of it.
#include "apps/measure.h"

#include <gmock/gmock.h>

#include <cmath>

#include "command.h"
#include "core/error.h"
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
  return {std::vector<double>(20, us), std::nullopt};
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
  const PlanRunner breaks = [](const scheduler::Plan&) -> PlanTimes { throw core::Error(core::ErrorKind::check_failed, "CUDA: a launch: no"); };
  EXPECT_EQ(measure_plans(two_trees(), options, breaks).at(0).status, MeasureStatus::failed);
  const PlanRunner errs = [](const scheduler::Plan&) { return PlanTimes{{1, 1}, 1.5}; };
  EXPECT_EQ(measure_plans(two_trees(), options, errs).at(0).status, MeasureStatus::wrong);
  const PlanRunner nans = [](const scheduler::Plan&) { return PlanTimes{{1, 1}, NAN}; };
  EXPECT_EQ(measure_plans(two_trees(), options, nans).at(0).status, MeasureStatus::wrong);
  options.seconds = 1e-9;
  EXPECT_EQ(measure_plans(two_trees(), options, simulated).back().status, MeasureStatus::skipped);
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
  const Result result = run("measure --tree '1,4|512,64' --heads 32/8/128 --device h100-sxm --strategy flash_decoding,espalier --dry-run -o out");
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
