// The stages of a calibration: which numbers of a device are fitted to which microbenchmarks, in which order, and
// whether the points tell them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sim/calibration/microbenchmark_models.h"

namespace espalier::sim {

/// Numbers that are fitted together, to families of microbenchmarks.
struct FitStage {
  std::vector<std::string_view> families;
  std::vector<std::string_view> parameters;
  std::vector<std::string_view> nuisance = {};  ///< fitted along, judged by a later stage
  bool curve = false;
};

/// In order: what one has fitted is frozen for those behind it.
const std::vector<FitStage>& fit_stages();

/// A point of a microbenchmark, and what was measured there.
struct Sample {
  const MicrobenchmarkModel* model = nullptr;
  std::vector<double> point;
  double us = 0, spread = 0;
};
using Samples = std::map<std::string, std::vector<Sample>, std::less<>>;  ///< by family

double predicted(const Sample& sample, const CalibrationSubject& subject);

/// What is known of a number while the stages run.
struct Finding {
  std::string family;
  std::string why_not;
  double most = 0;     ///< of a cost that the points can't tell from nothing: what they would show; 0: of none
  double scatter = 1;  ///< by how much draws are to be spread, for the degrees of freedom that the fit used up
};
using Findings = std::map<std::string, Finding, std::less<>>;

/// All stages from `subject` on; numbers with a reason in `frozen` stay as they are.
void run_stages(const Samples& samples, const Findings& frozen, bool search, CalibrationSubject& subject,
                Findings* findings);

}  // namespace espalier::sim
