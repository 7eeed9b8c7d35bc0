// What `espalier validate --published` prints and writes.

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "apps/published.h"
#include "apps/terminal.h"
#include "core/json.h"
#include "core/text.h"

namespace espalier::apps {
namespace {

/// What no efficiency can stand for, whatever the file.
std::vector<std::string> unseen_by_model(const PublishedFile& file) {
  return {
      "host time between launches (Python wrappers, Triton launchers): launches follow each other at the device's own "
      "gap",
      file.page_size == 1 ? "gathers of single tokens: page indices are looked up once a CTA, their bytes and address "
                            "arithmetic aren't counted"
                          : "bytes of page indices; what loads wait for at each page is the device's page_ns",
      "registers, stages and occupancy of the published kernels where the catalog says assumed",
  };
}

std::string number(const std::optional<double>& value) { return value ? fmt::format("{:.2f}", *value) : "-"; }

const PublishedPoint* worst_of(const PublishedScore& score) {
  const PublishedPoint* worst = nullptr;
  for (const PublishedPoint& p : score.points) {
    if (p.method != score.reference && (worst == nullptr || std::abs(p.log_error) > std::abs(worst->log_error))) {
      worst = &p;
    }
  }
  return worst;
}

double worst_error(const PublishedScore& score) {
  const PublishedPoint* worst = worst_of(score);
  return worst == nullptr ? 0 : std::abs(worst->log_error);
}

std::string summary_text(const PublishedSummary& s) {
  if (!s.median_abs_log_error || !s.worst_abs_log_error) return "no method that is simulated has a reading";
  return fmt::format("mean tau {}, median error of a ratio {:.1f} %, worst {:.2f}x", number(s.tau_mean),
                     100 * (std::exp(*s.median_abs_log_error) - 1), std::exp(*s.worst_abs_log_error));
}

void write_number(core::JsonWriter& out, std::string_view key, const std::optional<double>& value) {
  out.key(key);
  if (value) {
    out.value(*value);
  } else {
    out.null();
  }
}

void write_rows(core::JsonWriter& out, std::string_view key, const PublishedFile& file,
                const std::vector<PublishedScore>& scores) {
  out.key(key).begin_array();
  for (const PublishedScore& score : scores) {
    std::vector<std::string> methods, implementations;
    std::vector<double> measured, predicted, us, errors;
    for (const PublishedPoint& p : score.points) {
      methods.push_back(file.methods[p.method].name);
      implementations.push_back(p.implementation);
      measured.push_back(p.measured);
      predicted.push_back(p.predicted);
      us.push_back(p.time_us);
      errors.push_back(p.log_error);
    }
    out.begin_object().field("heads", score.row->heads_text).field("tree", score.row->tree);
    out.field("reference", score.points.empty() ? std::string() : file.methods[score.reference].name);
    write_number(out, "tau", score.tau);
    out.field("pairs", static_cast<std::int64_t>(score.pairs))
        .field("methods", methods)
        .field("implementations", implementations);
    out.field("measured", measured)
        .field("predicted", predicted)
        .field("log_error", errors)
        .field("time_us", us)
        .field("refused", score.refused);
    out.end_object();
  }
  out.end_array();
}

void write_summary(core::JsonWriter& out, std::string_view key, const PublishedSummary& s) {
  out.key(key).begin_object();
  write_number(out, "tau_mean", s.tau_mean);
  write_number(out, "median_abs_log_error", s.median_abs_log_error);
  write_number(out, "worst_abs_log_error", s.worst_abs_log_error);
  out.end_object();
}

}  // namespace

std::string render_published(const PublishedFile& file, const PublishedResult& result) {
  std::string text =
      fmt::format("{}: {} on {}, simulated on {}\n", file.file, file.source.empty() ? "published ratios" : file.source,
                  file.device_label.empty() ? file.device.name : file.device_label, file.device.name);
  Table table(
      {"held-out row", "heads", "reference", "tau", "pairs", "worst method", "published", "predicted"},
      {Align::left, Align::left, Align::left, Align::right, Align::right, Align::left, Align::right, Align::right});
  std::vector<const PublishedScore*> order;
  for (const PublishedScore& score : result.held_out) order.push_back(&score);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return worst_error(*a) > worst_error(*b); });
  for (const PublishedScore* score : order) {
    const PublishedPoint* worst = worst_of(*score);
    table.row({score->row->tree, score->row->heads_text,
               score->points.empty() ? "-" : file.methods[score->reference].name, number(score->tau),
               std::to_string(score->pairs), worst == nullptr ? "-" : file.methods[worst->method].name,
               worst == nullptr ? "-" : fmt::format("{:.3f}", worst->measured),
               worst == nullptr ? "-" : fmt::format("{:.3f}", worst->predicted)});
  }
  text += table.finish();
  text += fmt::format("held-out trees ({} rows): {}\n", result.held_out.size(), summary_text(result.summary));
  text += fmt::format("  without fitted efficiencies: {}\n", summary_text(result.unfitted));
  text +=
      fmt::format("  trees fitted on ({} rows): {}\n", result.fitted.size(), summary_text(summarise(result.fitted)));
  for (const Implementation& i : result.implementations) {
    text += i.points == 0
                ? fmt::format("  {}: no reading to fit on, taken at the modelled rates\n", i.name)
                : fmt::format("  {}: {:.0f} % of the modelled SM rates, fitted on {}\n", i.name, 100 * i.efficiency,
                              core::counted(static_cast<std::int64_t>(i.points), "reading"));
  }
  for (const std::string& fact : result.facts) text += fmt::format("  known of the benchmark: {}\n", fact);
  for (const PublishedMethod& method : file.methods) {
    if (!method.unmapped.empty()) text += fmt::format("  not simulated: {}: {}\n", method.name, method.unmapped);
  }
  for (const PublishedScore& score : result.held_out) {
    for (const std::string& refused : score.refused) {
      text += fmt::format("  refused at {} {}: {}\n", score.row->tree, score.row->heads_text, refused);
    }
  }
  for (const std::string& unseen : unseen_by_model(file)) text += fmt::format("  not seen by the model: {}\n", unseen);
  for (const std::string& remark : file.remarks) text += fmt::format("  note: {}\n", remark);
  return text;
}

std::string write_published(const PublishedFile& file, const PublishedResult& result) {
  core::JsonWriter out;
  out.begin_object().field("schema", "published_validation/1").field("file", file.file).field("source", file.source);
  out.field("device", file.device.name).field("reading_error", file.reading_error);
  write_number(out, "tau_mean", result.summary.tau_mean);
  write_number(out, "median_abs_log_error", result.summary.median_abs_log_error);
  write_number(out, "worst_abs_log_error", result.summary.worst_abs_log_error);
  write_summary(out, "without_fit", result.unfitted);
  write_summary(out, "fitted_trees", summarise(result.fitted));
  write_rows(out, "rows", file, result.held_out);
  write_rows(out, "fitted_rows", file, result.fitted);
  std::vector<std::string> unmapped, why;
  for (const PublishedMethod& method : file.methods) {
    if (method.unmapped.empty()) continue;
    unmapped.push_back(method.name);
    why.push_back(method.unmapped);
  }
  out.field("unmapped_methods", unmapped).field("unmapped_why", why);
  out.key("implementations").begin_array();
  for (const Implementation& i : result.implementations) {
    out.begin_object()
        .field("name", i.name)
        .field("efficiency", i.efficiency)
        .field("readings", static_cast<std::int64_t>(i.points))
        .end_object();
  }
  out.end_array();
  out.field("facts", result.facts)
      .field("not_modelled", unseen_by_model(file))
      .field("remarks", file.remarks)
      .end_object();
  return out.finish();
}

}  // namespace espalier::apps
