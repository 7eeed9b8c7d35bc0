// Searches: every input's best plan known, and how far each strategy is from it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/compare.h"
#include "scheduler/policy.h"
#include "sim/exact_search.h"
#include "sim/tuner.h"

namespace espalier::apps {

struct TuneOptions {
  CompareOptions compare;       ///< one device
  std::int64_t iterations = 0;  ///< in all, resumed ones counted; 0: no limit
  double seconds = 0;           ///< of this run, shared by the inputs; 0: no limit
  std::string state;            ///< file; empty: none kept
  bool exact = false;           ///< then prove it by exhaustion: small inputs and devices only
  bool policy = false;          ///< also try every strategy on parts of the kernel catalog
};

struct TuneRow {
  std::string strategy;
  std::optional<double> time_us;  ///< none: refused
  double regret = 0;              ///< time / best known - 1
  std::string why;                ///< of a refusal
};

struct TuneResult {
  std::string input;
  std::int64_t snapshot = 0, requests = 0, iterations = 0;
  double dedupe = 1, lower_bound_us = 0;
  double best_us = 0;
  bool best_found = false;  ///< by the search; else the fastest strategy's plan was never beaten
  std::vector<TuneRow> rows;
  std::optional<sim::ExactResult> exact;
  scheduler::PolicyRow policy;  ///< the fastest strategy, options and kernels; only when asked for
};

/// Searches all inputs, several at a time. `best`, where given, is for one input and takes its best plan.
std::vector<TuneResult> tune(const std::vector<Input>& inputs, const TuneOptions& options,
                             scheduler::Plan* best = nullptr);

/// Forty random forests, small and medium ones by halves: any sharing from none to dozens, any raggedness.
std::vector<Input> regret_instances(std::uint64_t seed);

std::string render_tuning(const std::vector<TuneResult>& results, const TuneOptions& options, bool each);
/// tune/1
std::string write_tuning(const std::vector<TuneResult>& results, const TuneOptions& options,
                         const std::string& command);

}  // namespace espalier::apps
