// policy/1: which strategy to run on which workload, as the tuner found it; a short table that a serving engine can
// read.
//
// A row is the features of one workload and the fastest strategy there: its options and, where it matters, the kernels
// it may use. A forest is planned like the nearest row: the distance is the length of the vector of differences of
// log2(dedupe) x 2, log2(requests), log2(1 + depth) and log2(unique tokens); of equally near rows the first. Dedupe
// counts double: sharing decides more than size.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/strategy.h"

namespace espalier::scheduler {

struct WorkloadFeatures {
  double dedupe = 1;
  std::int64_t requests = 1;
  std::int64_t depth = 0;  ///< deepest level, roots 0
  std::int64_t unique_tokens = 1;
};
WorkloadFeatures features_of(const traces::PrefixForest& forest);
double distance(const WorkloadFeatures& a, const WorkloadFeatures& b);

struct PolicyRow {
  std::string input;  ///< what the row was found on
  WorkloadFeatures features;
  std::string strategy;              ///< as parse_strategy() takes it
  std::vector<std::string> kernels;  ///< names of our kernels it may use; empty: all
  double time_us = 0;                ///< simulated
  double best_known_us = 0;          ///< of any plan the tuner found
};

struct Policy {
  std::string device;
  std::uint64_t device_hash = 0;
  traces::HeadConfig heads;
  std::vector<PolicyRow> rows;
};

/// The nearest row. The policy must have rows.
const PolicyRow& choose(const Policy& policy, const WorkloadFeatures& features);
/// All rows, nearest first, of equally near ones in their order: what to try where the nearest row's strategy refuses.
std::vector<PolicyRow> by_distance(const Policy& policy, const WorkloadFeatures& features);
/// From here on a row says little: a factor of two in dedupe.
constexpr double kFarAway = 2;
/// Leaves out rows that the others decide alike: every row given keeps its choice. Order kept.
std::vector<PolicyRow> condensed(const std::vector<PolicyRow>& rows);

std::string write_policy(const Policy& policy);
/// Throws Error (bad input): also for a strategy, option or kernel that doesn't exist.
Policy read_policy(std::string_view text, const std::string& file);
/// Throws Error (bad input, naming `file`) unless the policy was made for this device and these heads.
void require_made_for(const Policy& policy, const costmodel::DeviceSpec& device, const traces::HeadConfig& heads,
                      const std::string& file);

}  // namespace espalier::scheduler
