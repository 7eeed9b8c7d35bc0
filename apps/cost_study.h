// `compare --study cost-models`: how well each cost model knows the simulator's task times, and what its ignorance
// costs.
//
// Every strategy that consumes a cost model plans every input with every model. Truth is how long the tasks of those
// plans take in the simulator; equal tasks of a plan are one sample, with their mean time. They are timed twice: in
// place, where tasks find in L2 what others of the plan have read, and again with every KV read from HBM. The second
// is what a price of one task claims to know; how far the errors differ is what sharing does to it. Regret is a plan's
// slow-down against the best plan of that input over all models and all strategies compared.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/compare.h"

namespace espalier::apps {

/// One plan of the study.
struct StudyPlan {
  std::string input;
  std::int64_t snapshot = 0;
  std::string device, strategy, cost_model;
  std::optional<double> time_us;  ///< none: refused
  double best_us = 0;             ///< the input's best, 0 when every strategy refused
  std::string why;                ///< refused: the sentence
  std::optional<double> regret() const { return time_us ? std::optional(*time_us / best_us - 1) : std::nullopt; }
};

/// How estimates agree with task times.
struct Agreement {
  double error = 0;         ///< mean relative error as it stands
  double scaled_error = 0;  ///< after the scale that suits this input best
  double scale = 1;
  std::optional<double> tau;  ///< none: the model calls all tasks equal, or they are
};

/// One model on one input.
struct StudyFit {
  std::string input;
  std::int64_t snapshot = 0;
  std::string device, cost_model;
  std::size_t samples = 0;
  std::size_t extrapolated = 0;  ///< samples outside what the model was profiled on
  double l2_share = 0;           ///< of the KV bytes that all these plans read, in place
  Agreement in_place, no_hits;
};

struct CostStudy {
  std::vector<StudyPlan> plans;  ///< by input, device, strategy, model
  std::vector<StudyFit> fits;    ///< by input, device, model; inputs without samples have none
};

/// Throws Error (usage) when none of the strategies consumes a cost model.
CostStudy study_cost_models(const std::vector<Input>& inputs, const CompareOptions& options);
/// A table a device: means over inputs, worst regrets, and which model to use.
std::string render_study(const CostStudy& study, const CompareOptions& options);
/// cost_study/1
std::string write_study(const CostStudy& study, const std::string& command);

}  // namespace espalier::apps
