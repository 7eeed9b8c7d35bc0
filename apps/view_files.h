// What the explorer opens: plans, forests, block tables, measurements, by what they say they are.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "viz/explore/session.h"

namespace espalier::apps {

/// Reads a file into the session; a measurement joins the plan that is there. Throws Error with a sentence.
void open_in_view(viz::Session& session, const std::string& file);

/// A run of the plan of a session, read.
struct MeasuredRun {
  std::string file;
  std::shared_ptr<const scheduler::Measurement> measurement;
  std::shared_ptr<const scheduler::Plan> of, as_run;  ///< the session's plan, in the form in which it ran
};
/// Throws Error with a sentence; the session stays as it is.
MeasuredRun read_run(const viz::Session& session, const std::string& text, const std::string& file);
/// Side B becomes that run. Waits for nothing. Throws Error (usage) where its plan is no longer open, or simulated for
/// another machine.
void join_run(viz::Session& session, const MeasuredRun& run);
bool is_measurement(std::string_view text);

void give_forest(viz::Given& given, traces::PrefixForest forest);

}  // namespace espalier::apps
