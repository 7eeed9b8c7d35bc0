// A plan in every format it can be written in: for `espalier export` and for the explorer's menu, which thus write the
// same bytes.
#pragma once

#include <string>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::apps {

struct ExportOptions {
  std::string format;          ///< of export_formats(), or "plan"
  std::string table;           ///< csv: tasks, nodes, requests; empty: tasks
  std::string theme = "auto";  ///< svg, png: light, dark, auto (the reader's; png: light)
  double scale = 2;            ///< png: pixels of a unit
  std::string font = "best";   ///< png: or builtin
};
const std::vector<std::string>& export_formats();

/// Throws Error (usage) for unknown names and for what was left out of this build.
std::string export_plan(const scheduler::Plan& plan, const costmodel::DeviceSpec& device, const ExportOptions& options);

/// Two plans beside each other: html, perfetto.
struct PlanOnDevice {
  const scheduler::Plan& plan;
  const costmodel::DeviceSpec& device;
};
std::string export_pair(const PlanOnDevice& a, const PlanOnDevice& b, const std::string& format);

/// A forest alone: svg, png; csv of nodes or requests.
std::string export_forest(const traces::PrefixForest& forest, const traces::HeadConfig& heads,
                          const ExportOptions& options);

/// Throws Error (usage) for an unknown theme.
void check_theme(const std::string& name);

}  // namespace espalier::apps
