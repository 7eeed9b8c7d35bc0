// compare --html: one self-contained page that says which strategy, by how much and why, and how to see it again.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/compare.h"
#include "sim/explain.h"

namespace espalier::apps {

/// A plan of a row, explained with its timeline.
struct ExplainedRow {
  const ReportRow* row = nullptr;
  scheduler::Plan plan;
  sim::Explanation explanation;
};

/// One (input, device): its ranking, and the best plan beside the one to compare it with, on the snapshot that takes
/// the best longest.
struct ReportSection {
  RankedBlock block;
  std::size_t device = 0;  ///< of the options
  std::optional<ExplainedRow> best, other;
};

/// What a section may draw.
struct SectionDetail {
  std::int64_t max_boxes = 3000;  ///< of each picture
  bool titles = true;
};

/// Plans and simulates what the sections show, on several threads. `rows` must outlive the result.
std::vector<ReportSection> make_sections(const std::vector<Input>& inputs, const std::vector<ReportRow>& rows,
                                         const CompareOptions& options);

std::string render_section(const ReportSection& section, const CompareOptions& options, const SectionDetail& detail);

/// The page, at most about four MiB: with many inputs its pictures become coarser.
std::string write_html(const std::vector<Input>& inputs, const std::vector<ReportRow>& rows,
                       const CompareOptions& options, const std::string& command);

}  // namespace espalier::apps
