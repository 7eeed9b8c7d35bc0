// Plans run on a GPU, many inputs by many strategies in one process: what is timed, in which order, and what is kept of
// it. Running a plan is handed in, so that the rest can be tried without a GPU.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "apps/compare.h"
#include "costmodel/measurement_file.h"
#include "kernels/oracle.h"

namespace espalier::apps {

struct PlanTimes {
  std::vector<double> repeats_us;
  std::optional<double> error = {};  ///< worst of a row, over what is allowed
  std::string path = {};             ///< of the kernels that ran
  kernels::AttentionOutput rows =
      {};                ///< of the last run, or some of them; empty: not compared with those of other strategies
  double row_limit = 0;  ///< what these may be off
};
/// Throws PlanRefused for plans that the device can't run, DeviceLost where it runs nothing any more, Error for
/// whatever else fails.
using PlanRunner = std::function<PlanTimes(const scheduler::Plan&)>;

enum class MeasureStatus : std::uint8_t {
  ok,
  planned,  ///< a dry run
  refused,  ///< by the strategy, or by what would run the plan
  memory,   ///< n/a: more than the device has
  wrong,    ///< rows beyond what rounding explains
  failed,   ///< by the executor
  lost,     ///< failed, and ended all work of this process
  skipped,  ///< out of time
};
std::string_view measure_status_name(MeasureStatus status);

struct MeasureRow {
  std::string input, heads, strategy;
  MeasureStatus status = MeasureStatus::skipped;
  std::string note;
  std::int64_t unique_kv_bytes = 0, device_bytes = 0;
  std::int64_t launches = 0;
  double predicted_us = 0, median_us = 0, spread = 0;
  std::int32_t repeats = 0;
  std::optional<double>
      error;  ///< against the oracle, or against the first strategy of the input; over what is allowed
  std::string path;
  std::string plan_file, plan_hash;
};

struct MeasureOptions {
  CompareOptions plans;           ///< one device, heads, strategies in the order of their importance
  std::int64_t memory_bytes = 0;  ///< of the device, for tensors
  double seconds = 0;             ///< plans that would begin later are skipped; 0: no limit
  std::string plan_folder;        ///< where plan/1 files of what ran go; empty: nowhere
  std::size_t begin = 0;          ///< plans before this one are left out
  /// Called from time to time with all rows, those of plans still to come skipped.
  std::function<void(const std::vector<MeasureRow>&)> keep = {};
};

/// Rows of at most so many requests, spread evenly.
kernels::AttentionOutput some_rows(const kernels::AttentionOutput& all, std::int32_t most_requests);

/// A row an input and strategy, strategy by strategy, so that whatever is cut off has compared the first ones
/// everywhere. Null `run`: a dry run. Rows of an input's strategies must agree: all but the first that disagree are
/// wrong. After a lost device all that follows is skipped.
std::vector<MeasureRow> measure_plans(const std::vector<Input>& inputs, const MeasureOptions& options,
                                      const PlanRunner& run);

/// Rows that ran, as `validate --from` reads them. Plans of one input and heads are compared with each other.
std::vector<costmodel::MeasuredPlan> measured_plans(const std::vector<MeasureRow>& rows);

std::string measure_csv(const std::vector<MeasureRow>& rows);
/// A markdown table of times, a line an input; then, for each strategy, the geometric mean of its speed-up over the
/// first one.
std::string measure_markdown(const std::vector<MeasureRow>& rows);

}  // namespace espalier::apps
