#include "costmodel/measurement_file.h"

#include <fmt/core.h>
#include <gmock/gmock.h>

#include "core/error.h"

namespace espalier::costmodel {
namespace {

MeasurementFile sample() {
  MeasurementFile file;
  file.environment = {"a card", "570.1", kernel_build_hash()};
  file.query = {{"sms", 132}, {"l2_mib", 50}};
  file.families.push_back({"C0", {{1e6, 2e6}}, {9, 9}, {546.4, 1092.9}, {0.01, 0.02}});
  file.families.push_back({"C12", {{0, 1}, {1, 1}}, {5, 5}, {2.5, 1.3}, {0, 0.1}});
  return file;
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  const auto at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), with);
}

void expect_refused(const std::string& text, std::initializer_list<const char*> words) {
  try {
    read_measurement(text, "m.json");
    ADD_FAILURE() << "taken: " << text;
  } catch (const core::Error& error) {
    EXPECT_EQ(error.kind(), core::ErrorKind::bad_input);
    for (const char* word : words) EXPECT_THAT(error.what(), testing::HasSubstr(word));
  }
}

TEST(MeasurementFile, ReadsWhatItWrites) {
  const std::string text = write_measurement(sample());
  const MeasurementFile back = read_measurement(text, "m.json");
  EXPECT_EQ(write_measurement(back), text);
  EXPECT_EQ(back.environment, sample().environment);
  EXPECT_EQ(back.families[1].median_us, sample().families[1].median_us);
  EXPECT_EQ(back.families[1].parameters, sample().families[1].parameters);
}

TEST(MeasurementFile, NamesWhatIsWrongWithATime) {
  const std::string text = write_measurement(sample());
  expect_refused(replaced(text, "546.4", "0"), {"m.json", "families[0].median_us[0]", "above 0"});
  expect_refused(replaced(text, "546.4", "-3"), {"median_us[0]", "above 0", "-3"});
  expect_refused(replaced(text, "546.4", "null"), {"median_us[0]", "number", "null"});
  expect_refused(replaced(text, "546.4", "NaN"), {"m.json"});
  expect_refused(replaced(text, "546.4", "1e999"), {"m.json"});
}

TEST(MeasurementFile, RefusesWhatNoMicrobenchmarkCanHave) {
  for (const MicrobenchmarkFamily& family : microbenchmark_families()) {
    MeasurementFile file = sample();
    MeasuredFamily one{std::string(family.id), {}, {5}, {2.5}, {0}};
    for (const FamilyParameter& parameter : family.parameters) one.parameters.push_back({parameter.low});
    file.families = {one};
    EXPECT_NO_THROW(read_measurement(write_measurement(file), "m.json")) << family.id;
    for (std::size_t p = 0; p < one.parameters.size(); ++p) {
      const FamilyParameter& parameter = family.parameters[p];
      const std::string where = fmt::format("families[0].parameters.{}[0]", parameter.name);
      for (const double value : {parameter.low - 1, 2 * parameter.high}) {
        file.families[0].parameters[p] = {value};
        expect_refused(write_measurement(file), {"m.json", where.c_str()});
      }
      file.families[0].parameters[p] = {parameter.low};
    }
  }
  // What a kernel is spread over, or reads, can't be nothing: the fit would divide by it.
  for (const char* name : {"ctas", "stages", "tile_bytes", "bytes"}) {
    MeasurementFile file = sample();
    file.families = {{"C3", {{1}, {2}, {4096}, {1e6}}, {5}, {2.5}, {0}}};
    for (std::size_t p = 0; p < 4; ++p) {
      if (find_family("C3")->parameters[p].name == name) file.families[0].parameters[p] = {0};
    }
    expect_refused(write_measurement(file), {name, "at least 1"});
  }
}

TEST(MeasurementFile, NamesWhatIsWrongWithItsShape) {
  const std::string text = write_measurement(sample());
  expect_refused(replaced(text, "\"C0\"", "\"C23\""), {"families[0].id", "C23"});
  expect_refused(replaced(text, "\"C12\"", "\"C0\""), {"families[1]", "cycles"});
  expect_refused(replaced(text, "[0.01,0.02]", "[0.01]"), {"spread", "2 values"});
  expect_refused(replaced(text, "\"follow\"", "\"kind\""), {"C12", "follow, ctas", "kind"});
  expect_refused(replaced(text, "\"sms\": 132", "\"sms\": 0"), {"query.sms", "0"});
  expect_refused(replaced(text, "\"sms\": 132", "\"sms\": 13.5"), {"query.sms", "whole"});
  expect_refused(replaced(text, "\"sms\"", "\"hbm_latency_ns\""), {"query", "hbm_latency_ns"});
  expect_refused(replaced(text, "\"570.1\"", "\"\""), {"environment.driver", "empty"});
  expect_refused(replaced(text, "measurement/1", "measurement/2"), {"measurement/2"});
  expect_refused(replaced(text, "measurement/1", "run/1"),
                 {"measurement/1", "a run of one plan (run/1), which view --measured reads"});
  expect_refused(replaced(text, "\"environment\"", "\"surroundings\""), {"surroundings"});
}

TEST(MeasurementFile, TakesEachFamilyOnce) {
  MeasurementFile twice = sample();
  twice.families.push_back(twice.families[0]);
  expect_refused(write_measurement(twice), {"families[2].id", "once", "C0"});
}

TEST(MeasurementEnvironment, SaysWhatDiffers) {
  const MeasurementEnvironment a{"x", "1", "k"}, b{"x", "2", "l"};
  EXPECT_EQ(environment_difference(a, a), "");
  EXPECT_EQ(environment_difference(a, b), "driver 1 and 2, kernel build k and l");
}

TEST(MicrobenchmarkFamilies, AreInOrderAndNamedOnce) {
  int number = -1;
  for (const MicrobenchmarkFamily& family : microbenchmark_families()) {
    const int now = std::stoi(std::string(family.id.substr(1)));
    EXPECT_GT(now, number);
    number = now;
    EXPECT_FALSE(family.parameters.empty());
  }
}

}  // namespace
}  // namespace espalier::costmodel
