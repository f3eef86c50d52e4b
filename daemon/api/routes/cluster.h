/* cluster: the state of the cluster as JSON: once (/v1/cluster), or as server-sent events (/v1/cluster/live).
 *
 * Owns: the exchanges of those who look at it, from their request to their end.
 * Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_CLUSTER_H
#define DAEMON_API_ROUTES_CLUSTER_H
#include "daemon/api/routes/routes.h"

extern const struct http_route cluster_routes[];
extern const size_t cluster_nroutes;

#endif
