// What the checks found. The first report makes the context unusable, as an illegal address does on a GPU: every later
// call answers with its status, until the test has taken the reports (control.cpp). A process that ends with a report
// that nobody took fails, so that no test passes by not looking.
#pragma once

#include <string>

namespace stand_in {

// The numbers of `CUresult` that the stand-in answers with.
enum Status : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    INVALID_HANDLE = 400,
    ILLEGAL_STATE = 401,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    HOST_MEMORY_ALREADY_REGISTERED = 712,
    HOST_MEMORY_NOT_REGISTERED = 713,
    MISALIGNED_ADDRESS = 716,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
    STREAM_CAPTURE_UNSUPPORTED = 900,
    STREAM_CAPTURE_INVALIDATED = 901,
    STREAM_CAPTURE_UNMATCHED = 903,
    STREAM_CAPTURE_UNJOINED = 904,
    STREAM_CAPTURE_ISOLATION = 905,
    STREAM_CAPTURE_IMPLICIT = 906,
    CAPTURED_EVENT = 907,
    STREAM_CAPTURE_WRONG_THREAD = 908,
};

const char* status_name(int status);

// `text`, formatted as by printf.
std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));

void report(Status status, const std::string& what);

// The status of the first report that was not taken, or SUCCESS.
Status failure();
// All reports that were not taken, one a line.
const std::string& reports();
// Forgets them; the context can be used again.
void take_reports();

}  // namespace stand_in
