// Validation against published measurements: throughput of several methods relative to the fastest, row by row.
//
// Each method is simulated as shipped. Half of the file's trees fit one efficiency an implementation (the share of the
// modelled SM rates it reaches); the other half is predicted and scored. Files: published/1.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "costmodel/device_spec.h"
#include "traces/head_config.h"
#include "traces/prefix_forest.h"

namespace espalier::apps {

struct PublishedMethod {
  std::string name;      ///< as the file calls it
  std::string strategy;  ///< spec of the strategy that models it
  std::string grouped;   ///< the one used when query heads exceed KV heads; empty: the same
  std::string unmapped;  ///< why it can't be simulated; empty: it can
};

struct PublishedRow {
  std::string heads_text, tree;
  traces::HeadConfig heads;
  traces::PrefixForest forest;
  std::vector<std::optional<double>> throughput;  ///< by method
  bool held_out = false;
};

struct PublishedFile {
  std::string file, source, device_label;
  costmodel::DeviceSpec device;
  double reading_error = 0;
  std::int32_t page_size = 1;
  std::vector<PublishedMethod> methods;
  std::vector<PublishedRow> rows;
  std::vector<std::string> remarks;  ///< what reading it assumed or left out
};

/// Every second tree, by first appearance, is held out (none when there is only one). Throws Error (bad input).
PublishedFile read_published(std::string_view text, const std::string& file);

/// One kernel family and the share of the modelled SM rates it reaches.
struct Implementation {
  std::string name;
  double efficiency = 1;
  std::size_t points = 0;  ///< readings it was fitted on; 0: not fitted
};

/// A method in one row.
struct PublishedPoint {
  std::size_t method = 0;
  std::string implementation;
  double measured = 0;  ///< relative to the row's reference
  double predicted = 0;
  double time_us = 0;
  double log_error = 0;  ///< ln(predicted / measured)
};

struct PublishedScore {
  const PublishedRow* row = nullptr;
  std::size_t reference = 0;  ///< method with the highest published throughput
  std::vector<PublishedPoint> points;
  std::optional<double> tau;  ///< tau-b over pairs further apart than the reading error
  std::size_t pairs = 0;
  std::vector<std::string> refused;  ///< methods that refuse the row, with the reason
};

struct PublishedSummary {
  std::optional<double> tau_mean;
  std::optional<double> median_abs_log_error, worst_abs_log_error;  ///< over all points but the references
};
PublishedSummary summarise(const std::vector<PublishedScore>& scores);

struct PublishedResult {
  std::vector<Implementation> implementations;
  std::vector<PublishedScore> held_out, fitted;  ///< of the trees held out, and of those fitted on
  PublishedSummary summary, unfitted;            ///< of the held-out trees; the same with every efficiency 1
  std::vector<std::string> facts;                ///< how the benchmark ran the methods, where that is known
};

/// Plans, simulates, fits and scores. `jobs` threads, 0 is one a core.
PublishedResult validate_published(const PublishedFile& file, std::int32_t jobs);

/// tau-b of predicted against measured over the pairs whose measured values lie further apart than `least`; `pairs`
/// counts them.
std::optional<double> tau_of_distinct(const std::vector<PublishedPoint>& points, double least, std::size_t& pairs);

std::string render_published(const PublishedFile& file, const PublishedResult& result);
std::string write_published(const PublishedFile& file, const PublishedResult& result);

}  // namespace espalier::apps
