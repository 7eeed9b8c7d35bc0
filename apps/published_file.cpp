// Reading published/1. Files come from elsewhere, so keys that aren't known are told, not refused.

#include <fmt/core.h>

#include <algorithm>
#include <set>

#include "apps/published.h"
#include "core/error.h"
#include "core/json.h"
#include "core/text.h"
#include "scheduler/strategy.h"
#include "traces/import.h"

namespace espalier::apps {
namespace {

using core::JsonView;

void remark_unknown(PublishedFile& out, const JsonView& view, const std::set<std::string>& known) {
  for (const std::string& key : view.keys()) {
    if (known.contains(key) || key.starts_with("x_")) continue;
    out.remarks.push_back(fmt::format("{}: key \"{}\" is not known and was left out", view.where(), key));
  }
}

/// {"greedy": false} → ":greedy=0".
std::string options_text(const JsonView& options) {
  std::string text;
  for (const std::string& key : options.keys()) {
    const JsonView value = options.at(key);
    const double number = value.is_number() ? value.number() : value.boolean() ? 1.0 : 0.0;
    text += fmt::format("{}{}={}", text.empty() ? ":" : ",", key, number);
  }
  return text;
}

/// Empty, or why the spec names no strategy of ours.
std::string unknown_spec(const std::string& spec) {
  try {
    scheduler::parse_strategy(spec);
    return "";
  } catch (const core::Error& e) {
    return e.what();
  }
}

PublishedMethod read_method(PublishedFile& out, const std::string& name, const JsonView& view) {
  PublishedMethod method{name, "", "", ""};
  if (view.is_string()) {
    method.strategy = view.string();
  } else if (view.is_object()) {
    remark_unknown(out, view, {"strategy", "options", "grouped", "note"});
    if (const auto strategy = view.find("strategy"); strategy && strategy->is_string()) {
      method.strategy = strategy->string();
    }
    if (const auto options = view.find("options"); options && options->is_object()) {
      method.strategy += options_text(*options);
    }
    if (const auto grouped = view.find("grouped"); grouped && grouped->is_string()) method.grouped = grouped->string();
  }
  if (method.strategy.empty() || method.strategy.starts_with(":")) {
    method.unmapped = "the file maps it to no strategy";
    return method;
  }
  method.unmapped = unknown_spec(method.strategy);
  if (method.unmapped.empty() && !method.grouped.empty()) method.unmapped = unknown_spec(method.grouped);
  return method;
}

/// "32/8" and the file's head dim; "32/8/128" is taken as it is.
traces::HeadConfig row_heads(const JsonView& view, const std::string& dims, traces::Dtype dtype) {
  const std::string text = view.string();
  try {
    const auto parts = std::count(text.begin(), text.end(), '/');
    traces::HeadConfig heads = traces::parse_heads(parts == 1 ? fmt::format("{}/{}", text, dims) : text);
    heads.q_dtype = dtype == traces::Dtype::fp8_e4m3 ? traces::Dtype::bf16 : dtype;
    heads.kv_dtype = dtype;
    return heads;
  } catch (const core::Error& e) {
    throw core::bad_input(view.where(), "query/KV heads such as \"32/8\"", e.what());
  }
}

traces::PrefixForest row_forest(const JsonView& view, std::int32_t page_size) {
  try {
    return traces::floor_to_pages(traces::parse_tree(view.string()), page_size);
  } catch (const core::Error& e) {
    throw core::bad_input(view.where(), "a tree such as \"1,10|4000,400\"", e.what());
  }
}

struct Shape {
  std::string dims;
  traces::Dtype dtype;
  std::int32_t page_size;
};

Shape read_shape(const JsonView& root) {
  Shape shape{"128", traces::Dtype::fp16, 1};
  if (const auto dim = root.find("head_dim")) {
    shape.dims = dim->is_string() ? dim->string() : fmt::format("{}", dim->integer(1, 1024));
  }
  if (const auto dtype = root.find("dtype")) {
    const auto known = traces::dtype_of(dtype->string());
    if (!known) {
      throw core::bad_input(dtype->where(), "a number type such as fp16 or bf16", "\"" + dtype->string() + "\"");
    }
    shape.dtype = *known;
  }
  if (const auto page = root.find("page_size")) {
    shape.page_size = static_cast<std::int32_t>(page->integer(1, traces::kMaxPageSize));
  }
  return shape;
}

PublishedRow read_row(PublishedFile& out, const JsonView& view, const Shape& shape) {
  remark_unknown(out, view, {"heads", "tree", "throughput", "note"});
  PublishedRow row;
  row.heads_text = view.at("heads").string();
  row.tree = view.at("tree").string();
  row.heads = row_heads(view.at("heads"), shape.dims, shape.dtype);
  row.forest = row_forest(view.at("tree"), shape.page_size);
  row.throughput.resize(out.methods.size());
  const JsonView readings = view.at("throughput");
  for (const std::string& name : readings.keys()) {
    const JsonView reading = readings.at(name);
    if (reading.is_null()) continue;  // not run, or not readable
    const double value = reading.number(0, 1e12);
    auto method =
        std::find_if(out.methods.begin(), out.methods.end(), [&](const PublishedMethod& m) { return m.name == name; });
    if (method == out.methods.end()) {
      out.methods.push_back({name, "", "", "the file's methods don't name it"});
      method = out.methods.end() - 1;
    }
    row.throughput.resize(out.methods.size());
    if (value == 0) out.remarks.push_back(fmt::format("{}: 0 is no throughput, not read", reading.where()));
    if (value > 0) row.throughput[static_cast<std::size_t>(method - out.methods.begin())] = value;
  }
  return row;
}

void hold_out_trees(PublishedFile& file) {
  std::vector<std::string> trees;
  for (const PublishedRow& row : file.rows) {
    if (std::find(trees.begin(), trees.end(), row.tree) == trees.end()) trees.push_back(row.tree);
  }
  for (PublishedRow& row : file.rows) {
    const auto place = std::find(trees.begin(), trees.end(), row.tree) - trees.begin();
    row.held_out = trees.size() == 1 || place % 2 == 1;
  }
  if (trees.size() == 1) {
    file.remarks.emplace_back("one tree only: nothing is fitted, the model's own rates are scored");
  }
}

}  // namespace

PublishedFile read_published(std::string_view text, const std::string& file) {
  const auto document = core::JsonDocument::parse(text, file);
  const JsonView root = document.root();
  root.require_schema("published/1");
  PublishedFile out;
  out.file = file;
  remark_unknown(out, root,
                 {"schema", "source", "device", "device_label", "head_dim", "dtype", "page_size", "reading_error",
                  "methods", "rows", "note", "license"});
  if (const auto source = root.find("source")) out.source = source->string();
  if (const auto label = root.find("device_label")) out.device_label = label->string();
  const JsonView device = root.at("device");
  try {
    out.device = costmodel::find_device(device.string());
  } catch (const core::Error& e) {
    throw core::bad_input(device.where(), "a device of the catalog", e.what());
  }
  if (const auto error = root.find("reading_error")) out.reading_error = error->number(0, 1e12);
  const JsonView methods = root.at("methods");
  for (const std::string& name : methods.keys()) out.methods.push_back(read_method(out, name, methods.at(name)));
  const Shape shape = read_shape(root);
  out.page_size = shape.page_size;
  const JsonView rows = root.at("rows");
  for (std::size_t i = 0; i < rows.size(); ++i) out.rows.push_back(read_row(out, rows.at(i), shape));
  if (out.rows.empty()) throw core::bad_input(rows.where(), "at least one row", "none");
  for (PublishedRow& row : out.rows) row.throughput.resize(out.methods.size());
  hold_out_trees(out);
  return out;
}

}  // namespace espalier::apps
