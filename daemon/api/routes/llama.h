/* llama: the routes of llama.cpp's server.  Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_LLAMA_H
#define DAEMON_API_ROUTES_LLAMA_H
#include "daemon/api/routes/answer.h"

extern const struct http_route llama_routes[];
extern const size_t llama_nroutes;

#endif
