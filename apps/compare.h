// Strategies x inputs x devices → rows; rows → ranking and a verdict that a serving engineer can act on.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/inputs.h"
#include "sim/simulator.h"

namespace espalier::apps {

enum class RowStatus { ok, refused, invalid };
std::string status_name(RowStatus status);

/// SM time as shares of makespan x SMs.
struct TimeShares {
  double busy[sim::kBounds] = {};
  double launch = 0, underfill = 0, tail = 0, merge = 0;
  TimeShares& operator+=(const TimeShares& other);
  TimeShares& operator/=(double n);
};

/// One row of report/1. Times are simulated unless the row says otherwise; nothing here is measured but plan_us.
struct ReportRow {
  std::string input;
  std::int64_t snapshot = 0;
  std::string device, heads, strategy, kernels;
  std::string cost_model;  ///< consulted by the strategy; empty: none
  RowStatus status = RowStatus::ok;
  std::int64_t requests = 0;
  double dedupe = 1.0;
  std::optional<double> time_us;
  std::optional<double> time_low_us,
      time_high_us;             ///< what the origins of the device's numbers allow; the fastest rows of a case have it
  std::vector<double> effects;  ///< of these numbers on log time, see sim/interval.h
  std::optional<double> speedup_vs_flash_decoding;
  double lower_bound_us = 0;
  std::optional<double> share_of_bound;            ///< lower bound / time, at the achievable bandwidth
  std::optional<double> share_of_datasheet_bound;  ///< the same at the data-sheet peak
  std::int64_t unique_kv_bytes = 0;
  std::int64_t hbm_bytes = 0, l2_bytes = 0, tasks = 0, partial_rows = 0, workspace_bytes = 0, launches = 0;
  std::optional<double> plan_us;       ///< host CPU time of planning; none with --no-timing
  std::optional<double> ms_per_token;  ///< attention over all layers of the model; none without --model
  bool graph_safe = true;
  std::string bound_by;
  std::string plan_hash;
  std::string why;
  TimeShares shares;
};

struct CompareOptions {
  HeadChoice heads;
  std::vector<costmodel::DeviceSpec> devices;
  std::vector<scheduler::StrategyChoice> strategies;
  std::string strategy_text;  ///< as given, for reproduction
  scheduler::KernelSet kernels = scheduler::KernelSet::ours;
  std::vector<std::string> cost_models;  ///< specs; strategies that consume one run with each; none: each with its own
  std::uint64_t seed = 1;
  bool timing = true;
  std::int32_t intervals = 3;  ///< fastest rows of each case that get an interval
  std::int32_t jobs = 0;       ///< threads; 0: one a core
};

/// A strategy and, where it consumes one, the cost model it plans by.
struct Contender {
  const scheduler::StrategyChoice* choice;
  std::string cost_model;                      ///< spec; empty: none consulted
  std::vector<std::string> only_kernels = {};  ///< see PlanRequest
};
/// Every strategy of the options, those that consume a cost model once a model.
std::vector<Contender> contenders(const CompareOptions& options);
/// Throws a usage error when cost models are named and none of the strategies takes one.
void require_consumers(const CompareOptions& options);
/// "codec", with options that differ from the defaults "codec:rounds=1"; where cost models were named "codec[linear]";
/// the file of a table shows only where several are compared.
std::string contender_name(const Contender& contender, const CompareOptions& options);

/// The cost models of the options by spec, made for a device; none when no strategy consumes one.
using ModelsBySpec = std::map<std::string, std::shared_ptr<const costmodel::CostModel>>;
ModelsBySpec make_models(const CompareOptions& options, const costmodel::DeviceSpec& device);

/// Plans, validates and simulates everything. Rows in the order inputs, devices, strategies, cost models.
/// flash_decoding is always run (for the speed-up column) and has a row only when it was asked for.
std::vector<ReportRow> compare(const std::vector<Input>& inputs, const CompareOptions& options);

/// Plan of one strategy, validated: a Refusal for refusals and for plans that don't fit the device's memory. An invalid
/// plan of ours throws Error (check failed).
scheduler::PlanResult plan_checked(const Input& input, const Contender& contender, const CompareOptions& options,
                                   const costmodel::DeviceSpec& device, const ModelsBySpec& models);

/// Rows of one (source, device, strategy), their snapshots summed up: geometric means of ratios, arithmetic means of
/// times.
struct Summary {
  std::string input, device, strategy;
  std::size_t snapshots = 0, refused = 0, invalid = 0;
  double dedupe = 1.0, time_us = 0, share_of_bound = 0, share_of_datasheet = 0, plan_us = 0, hbm_bytes = 0;
  double reads_over_unique = 0;   ///< HBM bytes over the bytes of the unique KV
  std::optional<double> speedup;  ///< none when flash_decoding was refused on a snapshot
  TimeShares shares;
  std::string bound_by, why;
  struct Uncertain {
    double time_us = 0;
    std::vector<double> effects;
  };
  std::map<std::int64_t, Uncertain> uncertain;  ///< by snapshot
  std::size_t served() const { return snapshots - refused - invalid; }
  bool complete() const { return served() == snapshots && snapshots > 0; }
};
std::vector<Summary> summarise(const std::vector<ReportRow>& rows);

/// The summaries of one (input, device), best first.
struct RankedBlock {
  std::vector<Summary> summaries;
  const Summary& best() const { return summaries.front(); }
};
std::vector<RankedBlock> rank_blocks(const std::vector<ReportRow>& rows);
/// Which strategy, over what, why: a sentence or two a line, without line ends.
std::vector<std::string> verdict(const std::vector<Summary>& ranked, const CompareOptions& options);

/// Tables and verdicts, one block per (source, device).
std::string render(const std::vector<ReportRow>& rows, const CompareOptions& options, bool all_rows);

/// Over all inputs of each device: how far each strategy is behind the best of each input, what the first gains on the
/// best of the others, its share of the bound. Empty for one input or one strategy.
std::string render_overall(const std::vector<ReportRow>& rows, const CompareOptions& options);

/// How a strategy stands over all inputs of a device.
struct Standing {
  std::string strategy;
  double log_sum = 0;  ///< of its times over the best of each input
  double worst = 0;    ///< times the best
  std::string worst_input;
  int served = 0, wins = 0;
  double mean() const;  ///< geometric, times the best
};
struct Overall {
  std::string device;
  std::size_t inputs = 0;
  std::vector<Standing> ranked;        ///< best first
  std::vector<std::string> sentences;  ///< what the first gains on the others, its share of the bound
};
/// One a device that has at least two inputs and strategies.
std::vector<Overall> overall(const std::vector<ReportRow>& rows, const CompareOptions& options);

/// The plan of a served row, made again.
scheduler::Plan plan_again(const ReportRow& row, const std::vector<Input>& inputs, const CompareOptions& options);

/// report/1, and what changed against an older one (same input, snapshot, device, heads, strategy, kernels).
std::string write_report(const std::vector<ReportRow>& rows, const CompareOptions& options, const std::string& command);
std::string describe_changes(const std::vector<ReportRow>& rows, std::string_view old_report, const std::string& file);

}  // namespace espalier::apps
