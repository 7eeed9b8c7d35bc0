// What the explorer opens: plans, forests, block tables, measurements, by what they say they are.
#pragma once

#include <optional>
#include <string>

#include "viz/explore/session.h"

namespace espalier::apps {

/// Reads a file into the session; a measurement joins the plan that is there. Throws Error with a sentence.
void open_in_view(viz::Session& session, const std::string& file, std::optional<std::int64_t> snapshot = {});
/// Side B becomes a run of the plan on show.
void open_measurement(viz::Session& session, const std::string& text, const std::string& file);
bool is_measurement(const std::string& file);

void give_forest(viz::Given& given, traces::PrefixForest forest);

}  // namespace espalier::apps
